// Tokens that are found in the text as they stand, before any pre-tokenizer (the `added_tokens` of
// a tokenizer.json): leftmost first, of those at one place the longest.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace r1 {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;      // left out of decoded text on request
  bool normalized = false;   // looked for after the normalizer has run
  bool lstrip = false;       // takes in the white space before it
  bool rstrip = false;       // takes in the white space after it
  bool single_word = false;  // counts only between characters that are no word characters
};

class AddedTokenMatcher {
 public:
  // tokens[i].content must not be empty.
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  struct Segment {
    std::string_view text;
    int32_t id = -1;  // -1: text to encode
  };
  // Appends the segments of the text, in order, without empty ones.
  void split(std::string_view text, std::vector<Segment>& segments) const;

 private:
  // Index into tokens_ of the longest token that starts at `at`, or -1.
  int longest_at(std::string_view text, size_t at) const;

  std::vector<AddedToken> tokens_;
  std::array<bool, 256> starts_{};                // bytes some token begins with
  std::unordered_map<uint64_t, uint32_t> edges_;  // trie: node * 256 + byte -> node
  std::vector<int> token_at_;                     // trie node -> index into tokens_, or -1
};

}  // namespace r1
