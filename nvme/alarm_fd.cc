#include "nvme/alarm_fd.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "zerostream/error.h"

namespace zerostream {
namespace {

bool add(int epoll, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

}  // namespace

AlarmFd::AlarmFd(int other)
    : epoll_(epoll_create1(EPOLL_CLOEXEC)),
      timer_(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)) {
  if (epoll_ >= 0 && timer_ >= 0 && add(epoll_, other) && add(epoll_, timer_)) return;
  const int error = errno;
  close(timer_);
  close(epoll_);
  throw IoError(std::string("cannot watch a descriptor: ") + std::strerror(error), error);
}

AlarmFd::~AlarmFd() {
  close(timer_);
  close(epoll_);
}

void AlarmFd::set(Clock::time_point when) const {
  const auto since = when.time_since_epoch();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since);
  const itimerspec time{{}, {seconds.count(), std::chrono::nanoseconds(since - seconds).count()}};
  timerfd_settime(timer_, TFD_TIMER_ABSTIME, &time, nullptr);
}

void AlarmFd::clear() const {
  const itimerspec never{};
  timerfd_settime(timer_, 0, &never, nullptr);
}

void AlarmFd::wait() const {
  pollfd entry{epoll_, POLLIN, 0};
  poll(&entry, 1, -1);
}

}  // namespace zerostream
