// SIGINT and SIGTERM as a wish to stop.
#pragma once

#include <atomic>

namespace zerostream {

// From here on, the first SIGINT or SIGTERM makes the returned flag true, the second ends the
// process at once. SIGPIPE and SIGXFSZ are ignored: writes fail instead. The flag lives as long as
// the process.
const std::atomic<bool>& catch_signals();

// The signal that came, 0: none.
int caught_signal();

}  // namespace zerostream
