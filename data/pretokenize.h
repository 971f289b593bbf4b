// The cutting of a text into pieces that byte-pair encoding then never joins, as the
// `pre_tokenizer` of a tokenizer.json says (Split, Digits and ByteLevel of the tokenizers package).
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/regex.h"

namespace r1 {

// What becomes of a match: its own piece, dropped, joined to the text before or after it, or joined
// to matches beside it.
enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

// One step. A prefix step puts a space before every piece that does not start with one.
struct SplitRule {
  enum class Kind { kRegex, kLiteral, kPrefixSpace };
  Kind kind = Kind::kRegex;
  std::string pattern;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  // the text between the matches takes their place
};

// GPT-2's pattern, which ByteLevel applies with use_regex.
extern const char* const kGpt2Pattern;

class PreTokenizer {
 public:
  // `where` names the source in errors.
  PreTokenizer(const std::vector<SplitRule>& rules, const std::string& where);

  // Pieces are views of the text, or of `storage` where a space was put before them.
  struct Pieces {
    std::vector<std::string_view> views;
    std::deque<std::string> storage;
  };

  // Each step cuts every piece of the step before by itself. The text must be valid UTF-8. No piece
  // is empty.
  void split(std::string_view text, Pieces& pieces) const;

 private:
  struct Step {
    SplitRule rule;
    std::shared_ptr<const Regex> regex;  // null for the other kinds
  };
  std::vector<Step> steps_;
};

}  // namespace r1
