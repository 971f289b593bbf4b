// Characters newer than the Unicode tables of distributed PCRE2 libraries.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace r1 {

// The characters of a general category ("S", "Lu") that Unicode 15.0 to 16.0 added, as the inside
// of a bracket expression; "" for other properties.
std::string added_characters(std::string_view category);

}  // namespace r1
