#include "cli/signals.h"

#include <unistd.h>

#include <csignal>

namespace zerostream {
namespace {

constexpr int kSignalExit = 128;

// A handler has nothing but statics to write to.
std::atomic<bool> stop_flag = false;
std::atomic<int> first_signal = 0;

void handle(int signal) {
  int none = 0;
  if (!first_signal.compare_exchange_strong(none, signal)) _exit(kSignalExit + signal);
  stop_flag = true;
}

}  // namespace

const std::atomic<bool>& catch_signals() {
  static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free);
  struct sigaction action {};
  action.sa_handler = handle;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, nullptr);
  sigaction(SIGXFSZ, &action, nullptr);
  return stop_flag;
}

int caught_signal() { return first_signal; }

}  // namespace zerostream
