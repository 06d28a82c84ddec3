// Where packed stores are kept unless the user says otherwise.
#pragma once

#include <string>

namespace zerostream {

// $XDG_CACHE_HOME/zerostream, else ~/.cache/zerostream; it need not exist. For the command and the
// Engine only: nothing else reads the environment. Throws UsageError where neither variable is set.
std::string user_cache_folder();

}  // namespace zerostream
