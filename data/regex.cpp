#define PCRE2_CODE_UNIT_WIDTH 8
#include "data/regex.h"

#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

#include "data/regex_unicode.h"
#include "tensor/error.h"

namespace r1 {

namespace {

constexpr size_t kMaxPattern = 8192;  // bytes; the longest published one has about 400

// The 25 code points of White_Space, as the inside of a bracket expression.
constexpr std::string_view kSpaces =
    "\\x{09}-\\x{0D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}"
    "\\x{205F}\\x{3000}";

class Translator {
 public:
  Translator(std::string_view pattern, const std::string& where) : in_(pattern), where_(where) {}

  std::string run() {
    R1_CHECK(in_.size() <= kMaxPattern, "{}: regex of {} bytes is longer than {}", where_,
             in_.size(), kMaxPattern);
    while (at_ < in_.size()) step();
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    fail(
        "{}: regex: {} is not supported; literals, classes, \\p, \\s, \\d, groups, look-arounds "
        "and quantifiers are",
        where_, what);
  }

  void copy(size_t n) {
    out_.append(in_.substr(at_, n));
    at_ += n;
  }

  void step() {
    const char c = in_[at_];
    if (c == '\\') {
      escape();
    } else if (in_class_) {
      // Oniguruma nests classes and knows "&&"; PCRE2 takes both as plain characters.
      if (c == '[') refuse("'[' inside a class");
      if (c == '&' && in_.substr(at_, 2) == "&&") refuse("'&&' inside a class");
      if (c == ']') in_class_ = false;
      copy(1);
    } else if (c == '[') {
      in_class_ = true;
      copy(in_.substr(at_, 2) == "[^" ? 2 : 1);
      if (in_.substr(at_, 1) == "]") refuse("an unescaped ']' at the start of a class");
    } else if (c == '(') {
      group();
    } else if (c == '}' && in_.substr(at_ + 1, 1) == "+") {
      refuse("'}+'");  // a second repeat in Ruby syntax, possessive in PCRE2
    } else {
      copy(1);
    }
  }

  void escape() {
    R1_CHECK(at_ + 1 < in_.size(), "{}: regex ends in a backslash", where_);
    const char c = in_[at_ + 1];
    if (c == 's') {
      at_ += 2;
      out_.append(in_class_ ? "" : "[").append(kSpaces).append(in_class_ ? "" : "]");
    } else if (c == 'S') {
      if (in_class_) refuse("\\S inside a class");
      at_ += 2;
      out_.append("[^").append(kSpaces).append("]");
    } else if (std::string_view("pPx").find(c) != std::string_view::npos) {
      const size_t close = in_.find('}', at_);
      if (in_.substr(at_ + 2, 1) != "{" || close == std::string_view::npos)
        refuse(std::string("'\\") + c + "' without {...}");
      if (c == 'x') copy(close + 1 - at_);
      else property(in_.substr(at_ + 3, close - at_ - 3), c == 'P', close + 1);
    } else if (std::string_view("dDrntf").find(c) != std::string_view::npos) {
      copy(2);
    } else if (static_cast<unsigned char>(c) < 0x80 &&
               std::string_view("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
                       .find(c) == std::string_view::npos) {
      copy(2);  // an escaped punctuation mark or space
    } else {
      refuse(std::string("'\\") + c + "'");
    }
  }

  // \p{...} with the characters that PCRE2's tables may lack; not for \P inside a class, which
  // cannot be written so.
  void property(std::string_view name, bool negated, size_t end) {
    const std::string added = added_characters(name);
    if (added.empty() || (negated && in_class_)) {
      copy(end - at_);
      return;
    }
    if (!in_class_) out_.append(negated ? "[^" : "[");
    out_.append("\\p{").append(name).append("}").append(added);
    if (!in_class_) out_.append("]");
    at_ = end;
  }

  void group() {
    static constexpr std::array<std::string_view, 8> kKnown = {
        "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?i:", "(?-i:", "(?>"};
    const std::string_view rest = in_.substr(at_);
    if (rest.substr(0, 2) == "(?" || rest.substr(0, 2) == "(*") {
      const auto known = std::find_if(kKnown.begin(), kKnown.end(),
                                      [&](auto k) { return rest.substr(0, k.size()) == k; });
      if (known == kKnown.end()) refuse("group '" + std::string(rest.substr(0, 3)) + "'");
      copy(known->size());
    } else {
      copy(1);
    }
  }

  std::string_view in_;
  const std::string& where_;
  size_t at_ = 0;
  bool in_class_ = false;
  std::string out_;
};

std::string message_of(int code) {
  std::array<PCRE2_UCHAR, 160> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

std::string translate_regex(std::string_view pattern, const std::string& where) {
  return Translator(pattern, where).run();
}

struct Regex::Code {
  pcre2_code* code = nullptr;
  std::string where;
  Code(std::string_view pattern, std::string source) : where(std::move(source)) {
    const std::string translated = translate_regex(pattern, where);
    int error = 0;
    PCRE2_SIZE offset = 0;
    // MULTILINE: in Ruby syntax ^ and $ always match at line borders.
    code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                         PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
                         &offset, nullptr);
    R1_CHECK(code != nullptr, "{}: regex does not compile: {}", where, message_of(error));
    // Without just-in-time support matching falls back to the interpreter.
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  }
  ~Code() { pcre2_code_free(code); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
};

Regex::Regex(std::string_view pattern, const std::string& where)
    : code_(std::make_shared<const Code>(pattern, where)) {}

struct Regex::Matcher::State {
  std::shared_ptr<const Code> code;
  pcre2_match_data* data = nullptr;
  pcre2_match_context* context = nullptr;
  size_t limit_for = 0;

  explicit State(std::shared_ptr<const Code> c) : code(std::move(c)) {
    data = pcre2_match_data_create(1, nullptr);
    context = pcre2_match_context_create(nullptr);
    if (data == nullptr || context == nullptr) {
      release();
      throw std::bad_alloc();
    }
    pcre2_set_heap_limit(context, 256 * 1024);  // KiB
    set_limit(0);
  }
  ~State() { release(); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void release() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
  }
  // Honest patterns step back over a run of spaces once, which counts one step a character.
  void set_limit(size_t bytes) {
    limit_for = bytes;
    const size_t steps = size_t{10000} + 16 * std::min(bytes, size_t{1} << 27);
    pcre2_set_match_limit(context, static_cast<uint32_t>(steps));
    pcre2_set_depth_limit(context, static_cast<uint32_t>(steps));
  }
};

Regex::Matcher::Matcher(const Regex& regex) : state_(std::make_unique<State>(regex.code_)) {}
Regex::Matcher::~Matcher() = default;
Regex::Matcher::Matcher(Matcher&&) noexcept = default;

bool Regex::Matcher::find(std::string_view text, size_t from, size_t& begin, size_t& end) {
  if (text.size() > state_->limit_for) state_->set_limit(text.size());
  const auto match = [&](uint32_t options) {
    return pcre2_match(state_->code->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                       from, options | PCRE2_NO_UTF_CHECK, state_->data, state_->context);
  };
  int rc = match(0);
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT) rc = match(PCRE2_NO_JIT);
  if (rc == PCRE2_ERROR_NOMATCH) return false;
  R1_CHECK(rc >= 0, "{}: regex on a text of {} bytes: {}", state_->code->where, text.size(),
           message_of(rc));
  const PCRE2_SIZE* range = pcre2_get_ovector_pointer(state_->data);
  begin = range[0];
  end = range[1];
  return true;
}

}  // namespace r1
