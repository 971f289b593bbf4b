// What this program is: for `r1 --version`, `r1 env` and run headers.
#pragma once

#include <string>

namespace r1 {

// "0.1.0 (1a2b3c4d5-dirty, Release, GNU 12.2.0)": version, commit (absent in a tarball), build type
// and compiler.
std::string version_text();

}  // namespace r1
