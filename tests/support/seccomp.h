// A kernel that lacks things.
#pragma once

#include <initializer_list>

namespace zerostream {

// From here on these system calls fail with EPERM in this process. False where seccomp itself is
// not allowed.
bool forbid(std::initializer_list<int> calls);

}  // namespace zerostream
