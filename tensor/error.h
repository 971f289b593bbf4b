// The one exception of the library. Its text is one line: what happened, where, what to try.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace r1 {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// fail("linear: weight has {} columns but x has {}", k, x.cols()) throws r1::Error.
template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace r1

// Checks an argument or a file, never an invariant of our own (that is assert). The message is
// only formatted on failure.
#define R1_CHECK(condition, ...)               \
  do {                                         \
    if (!(condition)) ::r1::fail(__VA_ARGS__); \
  } while (false)
