// UTF-8 and the few Unicode facts that text processing needs. Source: RFC 3629; the Unicode
// Standard, 3.9 (substitution of maximal subparts) and UAX #15 (NFC).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace r1 {

inline constexpr char32_t kReplacementCharacter = 0xFFFD;

// One step through a text. An ill-formed sequence gives U+FFFD and the length of its maximal
// subpart: the longest prefix of a well-formed character, at least one byte.
struct Utf8Step {
  char32_t code = 0;
  int bytes = 0;
  bool valid = false;
  bool cut = false;  // ill-formed only because the text ends here
};

// Precondition: at < text.size().
Utf8Step utf8_next(std::string_view text, size_t at);

void utf8_append(std::string& text, char32_t code);

// Offset of the first ill-formed byte, or std::string_view::npos.
size_t utf8_find_invalid(std::string_view text);

// Every maximal subpart of an ill-formed sequence becomes one U+FFFD.
std::string utf8_replace_invalid(std::string_view text);

// Number of bytes (0 to 3) at the end that begin a character but do not complete it.
size_t utf8_incomplete_tail(std::string_view text);

// Normalization Form C; text must be valid UTF-8. O(n log n), also for long runs of marks. The
// tables are utf8proc's: marks that Unicode added in late versions are put in order here, while the
// tokenizers package, whose tables are older, leaves them where they are.
std::string utf8_nfc(std::string_view text);

// The Unicode property White_Space (25 code points).
bool is_white_space(char32_t code);

// A letter, mark, decimal or letter number, connector punctuation, or a joiner.
bool is_word_character(char32_t code);

}  // namespace r1
