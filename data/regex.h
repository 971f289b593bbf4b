// Regular expressions of published tokenizers, through PCRE2. The patterns are written for
// Oniguruma (Ruby syntax, Unicode), where \s is the property White_Space; PCRE2's own \s differs
// (U+180E), so the class is spelled out. Constructs whose meaning differs between the two engines
// are refused by name.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace r1 {

// A compiled pattern; may be used by several threads, each with its own Matcher.
class Regex {
 public:
  // `where` names the source in errors. Throws Error if the pattern is not understood.
  Regex(std::string_view pattern, const std::string& where);

  class Matcher {
   public:
    explicit Matcher(const Regex& regex);
    ~Matcher();
    Matcher(Matcher&&) noexcept;

    // The first match in text[from, end) (text before `from` is seen by look-behinds). The text
    // must be valid UTF-8. Throws Error if the match needs too many steps or too much memory.
    bool find(std::string_view text, size_t from, size_t& begin, size_t& end);

   private:
    struct State;
    std::unique_ptr<State> state_;
  };

 private:
  struct Code;
  std::shared_ptr<const Code> code_;
};

// The PCRE2 form of an Oniguruma pattern (for tests).
std::string translate_regex(std::string_view pattern, const std::string& where);

}  // namespace r1
