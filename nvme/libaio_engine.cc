#include <libaio.h>

#include <cstring>
#include <vector>

#include "base/require.h"
#include "nvme/engines.h"
#include "nvme/event_fd.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

// libaio returns -errno and leaves errno alone.
std::string reason(int result) {
  const std::string text = std::strerror(-result);
  if (-result == EAGAIN) return text + " (fs.aio-max-nr is used up)";
  if (-result == ENOSYS || -result == EPERM) return text + " (kernel without it, or seccomp)";
  return text;
}

class LibaioEngine final : public IoEngine {
 public:
  explicit LibaioEngine(int capacity) : capacity_(capacity) {
    const int result = io_setup(capacity, &context_);
    if (result < 0) throw UsageError("libaio: " + reason(result));
    events_.resize(static_cast<size_t>(capacity));
    refused_.reserve(static_cast<size_t>(capacity));
  }

  ~LibaioEngine() override { io_destroy(context_); }  // waits for what is in flight

  std::string name() const override { return "libaio"; }
  int capacity() const override { return capacity_; }
  int event_fd() const override { return ready_.fd(); }
  std::string register_buffer(std::byte*, int64_t) override {
    return "libaio registers no buffers";
  }

  void submit(std::span<const IoRequest> requests) override {
    require(in_flight_ + refused_.size() + requests.size() <= static_cast<size_t>(capacity_),
            "the engine has room");
    for (const IoRequest& request : requests) submit_one(request);
  }

  int reap(int min, std::span<IoCompletion> completions) override {
    ready_.drain();
    size_t count = 0;
    while (count < completions.size() && !refused_.empty()) {
      completions[count++] = refused_.back();
      refused_.pop_back();
    }
    const auto wanted = static_cast<size_t>(min);
    do {
      const long room = static_cast<long>(completions.size() - count);
      if (room == 0 || in_flight_ == 0) break;
      const long least = count < wanted ? static_cast<long>(wanted - count) : 0;
      timespec now{};
      const int result =
          io_getevents(context_, least, room, events_.data(), least == 0 ? &now : nullptr);
      if (result == -EINTR) continue;
      if (result < 0) throw IoError("libaio: cannot reap: " + reason(result), -result);
      for (int i = 0; i < result; ++i)
        completions[count++] = {reinterpret_cast<uint64_t>(events_[static_cast<size_t>(i)].data),
                                static_cast<int64_t>(events_[static_cast<size_t>(i)].res)};
      in_flight_ -= static_cast<size_t>(result);
    } while (count < wanted);
    return static_cast<int>(count);
  }

 private:
  void submit_one(const IoRequest& request) {
    iocb control{};
    iocb* list = &control;
    const auto bytes = static_cast<size_t>(request.bytes);
    if (request.kind == IoRequest::Kind::kRead)
      io_prep_pread(&control, request.fd, request.data, bytes, request.offset);
    else
      io_prep_pwrite(&control, request.fd, request.data, bytes, request.offset);
    io_set_eventfd(&control, ready_.fd());
    control.data = reinterpret_cast<void*>(request.tag);
    int result = 0;
    do result = io_submit(context_, 1, &list);
    while (result == -EINTR);
    if (result == 1) {
      ++in_flight_;
      return;
    }
    // The kernel checks a request before it queues it; the caller sees one kind of failure.
    refused_.push_back({request.tag, result});
    ready_.signal();
  }

  int capacity_;
  size_t in_flight_ = 0;
  EventFd ready_;
  io_context_t context_ = nullptr;
  std::vector<io_event> events_;
  std::vector<IoCompletion> refused_;
};

}  // namespace

std::unique_ptr<IoEngine> make_libaio_engine(int capacity) {
  return std::make_unique<LibaioEngine>(capacity);
}

}  // namespace zerostream
