// UTF-8, NFC, regular expressions and byte-pair encoding by themselves.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "data/bpe.h"
#include "data/regex.h"
#include "data/utf8.h"
#include "tensor/error.h"

namespace r1 {
namespace {

using Ids = std::vector<int32_t>;

// The definition: merge the pair of lowest rank, leftmost first, until there is none.
TEST(Bpe, EqualsTheDefinition) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    // Tokens are all strings of "ab" up to length 4, merges a random choice, each result once.
    std::vector<std::string> tokens = {"a", "b"};
    std::vector<BpeMerge> merges;
    for (int i = 0; i < 12; ++i) {
      const auto left = static_cast<size_t>(random() % tokens.size());
      const auto right = static_cast<size_t>(random() % tokens.size());
      const std::string both = tokens[left] + tokens[right];
      if (std::find(tokens.begin(), tokens.end(), both) != tokens.end()) continue;
      merges.push_back({static_cast<int32_t>(left), static_cast<int32_t>(right),
                        static_cast<int32_t>(tokens.size())});
      tokens.push_back(both);
    }
    std::array<int32_t, 256> bytes;
    bytes.fill(-1);
    bytes['a'] = 0;
    bytes['b'] = 1;
    const Bpe bpe(bytes, merges);
    std::string text;
    Ids slow;
    for (int i = 0; i < 60; ++i) {
      const bool b = random() % 2 == 1;
      text += b ? 'b' : 'a';
      slow.push_back(b);
      if (random() % 9 == 0) text += 'x';  // a byte without a token leaves no trace
    }
    for (const BpeMerge& m : merges) {
      // Results of later merges cannot bring back pairs of earlier ones, so rank by rank will do.
      Ids next;
      for (size_t i = 0; i < slow.size(); ++i) {
        if (i + 1 < slow.size() && slow[i] == m.left && slow[i + 1] == m.right) {
          next.push_back(m.result);
          ++i;
        } else {
          next.push_back(slow[i]);
        }
      }
      slow = next;
    }
    BpeScratch scratch;
    Ids fast;
    bpe.encode(text, scratch, fast);
    EXPECT_EQ(fast, slow) << text;
  }
}

TEST(Regex, IsThatOfTheTokenizersPackage) {
  const auto matches = [](const std::string& pattern, const std::string& text) {
    const Regex regex(pattern, "test");
    Regex::Matcher matcher(regex);
    size_t begin = 0, end = 0;
    return matcher.find(text, 0, begin, end) ? text.substr(begin, end - begin) : "-";
  };
  EXPECT_EQ(matches("\\s+", "a\u0085\u2028b"), "\u0085\u2028");
  EXPECT_EQ(matches("\\s", "\u180e"), "-");  // no White_Space since Unicode 6.3
  EXPECT_EQ(matches("[^\\s]+", " \u180ex "), "\u180ex");
  EXPECT_EQ(matches("\\S+", " ab "), "ab");
  EXPECT_EQ(matches("\\p{S}", "\U0001FA77"), "\U0001FA77");  // of Unicode 15
  EXPECT_EQ(matches("\\P{S}", "\U0001FA77"), "-");
  EXPECT_EQ(matches("(?i:'s)", "'\u017f"), "'\u017f");
  for (const char* bad : {"(", "[", "\\w", "(?m:a)", "a{1,2}+", "[[:alpha:]]", "[a&&b]", "\\",
                          "(?R)", "(*UTF)", "\\p{Nonsense}", "[\\S]"})
    EXPECT_THROW(Regex(bad, "test"), Error) << bad;
  // Exponential patterns end in an error, not in hours.
  EXPECT_THROW(matches("(?:a|a)*b$", std::string(40, 'a') + "bx"), Error);
}

TEST(Utf8, MaximalSubparts) {
  // Unicode Standard, table 3-8 and its neighbours.
  const std::string r = "\uFFFD";
  EXPECT_EQ(utf8_replace_invalid("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82"
                                 "A"),
            r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(utf8_replace_invalid("\xF4\x91\x92\x93\xFF"
                                 "A\x80\xBF"
                                 "B"),
            r + r + r + r + r + "A" + r + r + "B");
  EXPECT_EQ(utf8_replace_invalid("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF"
                                 "A"),
            r + r + r + r + "A");
  EXPECT_EQ(utf8_replace_invalid("\xF0\x9F\x98"), r);
  EXPECT_EQ(utf8_incomplete_tail("a\xF0\x9F\x98"), 3u);
  EXPECT_EQ(utf8_incomplete_tail("a\xE2\x82\xAC"), 0u);
  EXPECT_EQ(utf8_incomplete_tail("a\xC0"), 0u);
  EXPECT_EQ(utf8_incomplete_tail("\x80\x80\x80"), 0u);
}

TEST(Utf8, Nfc) {
  EXPECT_EQ(utf8_nfc("plain \u00e4"), "plain \u00e4");
  EXPECT_EQ(utf8_nfc("q\u0307\u0323"), "q\u0323\u0307");
  EXPECT_EQ(utf8_nfc("\u1100\u1161\u11a8"), "\uac01");
  EXPECT_EQ(utf8_nfc("\u212b"), "\u00c5");
  EXPECT_EQ(utf8_nfc(std::string("e\u0301\0x", 5)), std::string("\u00e9\0x", 4));
  // Marks below sort before those above, and the first of them joins the letter; marks of one class
  // keep their order. The run is long enough for a quadratic sort to be noticed.
  std::string marks, above, below;
  for (int i = 0; i < 100000; ++i) {
    above += i % 3 == 0 ? "\u0301" : "\u0300";
    marks += i % 3 == 0 ? "\u0301" : "\u0300";
    marks += "\u0323";
    if (i > 0) below += "\u0323";
  }
  EXPECT_EQ(utf8_nfc("a" + marks), "\u1ea1" + below + above);
}

}  // namespace
}  // namespace r1
