// A wake-up by another descriptor or by the clock.
#pragma once

#include <chrono>

namespace zerostream {

// A descriptor that becomes readable when `other` is, or from a time on. `other` must outlive this.
// Threads: one. Errors: the constructor throws IoError with errno.
class AlarmFd {
 public:
  using Clock = std::chrono::steady_clock;

  explicit AlarmFd(int other);
  ~AlarmFd();
  AlarmFd(const AlarmFd&) = delete;
  AlarmFd& operator=(const AlarmFd&) = delete;

  int fd() const { return epoll_; }
  void set(Clock::time_point when) const;  // instead of an earlier set()
  void clear() const;
  void wait() const;  // until readable; may return sooner

 private:
  int epoll_;
  int timer_;
};

}  // namespace zerostream
