// Ends a test program that hangs.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace zerostream {

// Prints `what` and the state of every thread of the process to stderr and aborts, unless it goes
// within `seconds`.
class Watchdog {
 public:
  Watchdog(std::string what, double seconds);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  void watch(double seconds);

  const std::string what_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace zerostream
