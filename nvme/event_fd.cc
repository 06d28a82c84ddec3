#include "nvme/event_fd.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "zerostream/error.h"

namespace zerostream {

EventFd::EventFd() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (fd_ < 0) throw IoError(std::string("cannot make an eventfd: ") + std::strerror(errno), errno);
}

EventFd::~EventFd() { close(fd_); }

void EventFd::signal() const { eventfd_write(fd_, 1); }

void EventFd::drain() const {
  eventfd_t ignored;
  eventfd_read(fd_, &ignored);
}

}  // namespace zerostream
