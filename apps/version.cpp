#include "apps/version.h"

#include <string_view>

#include "version_info.h"

namespace r1 {

std::string version_text() {
  constexpr std::string_view kCommit = R1_COMMIT;
  std::string text = R1_VERSION " (";
  if (!kCommit.empty()) text.append(kCommit).append(", ");
  return text += R1_BUILD_TYPE ", " R1_COMPILER ")";
}

}  // namespace r1
