#include "tests/faults/watchdog.h"

#include <execinfo.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace zerostream {
namespace {

std::string first_line(const std::filesystem::path& path) {
  std::ifstream stream(path);
  std::string line;
  std::getline(stream, line);
  return line;
}

// Called on the thread itself.
void print_stack(int) {
  void* frames[64];
  backtrace_symbols_fd(frames, backtrace(frames, 64), STDERR_FILENO);
}

void dump_threads() {
  signal(SIGUSR2, print_stack);
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    const int thread = std::atoi(entry.path().filename().c_str());
    std::fprintf(stderr, "thread %d %s, waits in %s, system call %s\n", thread,
                 first_line(entry.path() / "comm").c_str(),
                 first_line(entry.path() / "wchan").c_str(),
                 first_line(entry.path() / "syscall").c_str());
    syscall(SYS_tgkill, getpid(), thread, SIGUSR2);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

}  // namespace

Watchdog::Watchdog(std::string what, double seconds)
    : what_(std::move(what)), thread_([this, seconds] { watch(seconds); }) {}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Watchdog::watch(double seconds) {
  std::unique_lock lock(mutex_);
  if (changed_.wait_for(lock, std::chrono::duration<double>(seconds), [this] { return over_; }))
    return;
  std::fprintf(stderr, "hangs for %.0f s: %s\n", seconds, what_.c_str());
  dump_threads();
  std::abort();
}

}  // namespace zerostream
