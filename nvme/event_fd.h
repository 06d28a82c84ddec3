// A wake-up that an event loop can wait for.
#pragma once

namespace zerostream {

// Owns an eventfd. Threads: any. Errors: the constructor throws IoError with errno.
class EventFd {
 public:
  EventFd();
  ~EventFd();
  EventFd(const EventFd&) = delete;
  EventFd& operator=(const EventFd&) = delete;

  int fd() const { return fd_; }
  void signal() const;  // makes it readable
  void drain() const;   // makes it unreadable; never blocks

 private:
  int fd_;
};

}  // namespace zerostream
