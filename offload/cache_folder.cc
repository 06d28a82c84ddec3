#include "offload/cache_folder.h"

#include <cstdlib>
#include <filesystem>

#include "zerostream/error.h"

namespace zerostream {

std::string user_cache_folder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && *cache == '/')
    return (std::filesystem::path(cache) / "zerostream").string();
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home == '\0')
    throw UsageError("there is no cache folder: set HOME or XDG_CACHE_HOME");
  return (std::filesystem::path(home) / ".cache" / "zerostream").string();
}

}  // namespace zerostream
