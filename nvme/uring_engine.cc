#include <liburing.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/bytes.h"
#include "base/require.h"
#include "nvme/engines.h"
#include "nvme/event_fd.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int64_t kLargestRegistration = int64_t{1} << 30;  // of one piece, by the kernel

std::string locked_memory_limit() {
  rlimit limit{};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  return limit.rlim_cur == RLIM_INFINITY ? "unlimited"
                                         : format_bytes(static_cast<int64_t>(limit.rlim_cur));
}

// liburing returns -errno and leaves errno alone.
std::string reason(int result) {
  const std::string text = std::strerror(-result);
  switch (-result) {
    case EPERM:
      return text + " (blocked by seccomp or kernel.io_uring_disabled)";
    case ENOSYS:
      return text + " (kernel without io_uring, or blocked by seccomp)";
    case ENOMEM:
      return text + " (locked-memory limit is " + locked_memory_limit() + ", see ulimit -l)";
    default:
      return text;
  }
}

class UringEngine final : public IoEngine {
 public:
  explicit UringEngine(int capacity) : capacity_(capacity) {
    const int result =
        io_uring_queue_init(static_cast<unsigned>(capacity), &ring_, IORING_SETUP_CLAMP);
    if (result < 0) throw UsageError("io_uring: " + reason(result));
    try {
      check_operations();
      const int registered = io_uring_register_eventfd(&ring_, ready_.fd());
      if (registered < 0) throw UsageError("io_uring: no event descriptor: " + reason(registered));
    } catch (...) {
      io_uring_queue_exit(&ring_);
      throw;
    }
    capacity_ = std::min<int>(capacity, static_cast<int>(*ring_.sq.kring_entries));
  }

  ~UringEngine() override {
    // Closing a ring does not wait for its requests.
    io_uring_cqe* entry = nullptr;
    while (in_flight_ > 0) {
      const int result = io_uring_wait_cqe(&ring_, &entry);
      if (result == -EINTR || result == -EAGAIN) continue;
      if (result < 0) break;
      io_uring_cqe_seen(&ring_, entry);
      --in_flight_;
    }
    io_uring_queue_exit(&ring_);
  }

  std::string name() const override { return "io_uring"; }
  int capacity() const override { return capacity_; }
  int event_fd() const override { return ready_.fd(); }

  void submit(std::span<const IoRequest> requests) override {
    require(in_flight_ + static_cast<int>(requests.size()) <= capacity_, "the engine has room");
    for (const IoRequest& request : requests) prepare(request);
    for (size_t sent = 0; sent < requests.size();) {
      const int result = io_uring_submit(&ring_);
      if (result == -EINTR || result == -EAGAIN || result == -EBUSY) continue;
      if (result < 0) throw IoError("io_uring: cannot submit: " + reason(result), -result);
      sent += static_cast<size_t>(result);
      in_flight_ += result;
    }
  }

  int reap(int min, std::span<IoCompletion> completions) override {
    ready_.drain();
    int count = take(completions);
    while (count < min) {
      io_uring_cqe* entry = nullptr;
      const int result = io_uring_wait_cqe(&ring_, &entry);
      if (result < 0 && result != -EINTR && result != -EAGAIN)
        throw IoError("io_uring: cannot wait: " + reason(result), -result);
      count += take(completions.subspan(static_cast<size_t>(count)));
    }
    return count;
  }

  std::string register_buffer(std::byte* data, int64_t bytes) override {
    require(in_flight_ == 0, "nothing is in flight while buffers are registered");
    if (!registered_.empty()) io_uring_unregister_buffers(&ring_);
    for (int64_t begin = 0; begin < bytes; begin += kLargestRegistration)
      registered_.push_back(
          {data + begin, static_cast<size_t>(std::min(bytes - begin, kLargestRegistration))});
    const int result = io_uring_register_buffers(&ring_, registered_.data(),
                                                 static_cast<unsigned>(registered_.size()));
    if (result >= 0) return {};
    registered_.clear();
    return "io_uring: cannot register " + format_bytes(bytes) + ": " + reason(result);
  }

 private:
  void check_operations() {
    io_uring_probe* probe = io_uring_get_probe_ring(&ring_);
    const bool works = probe != nullptr && io_uring_opcode_supported(probe, IORING_OP_READ) &&
                       io_uring_opcode_supported(probe, IORING_OP_WRITE);
    io_uring_free_probe(probe);
    if (!works) throw UsageError("io_uring: this kernel's is too old (5.6 or newer is needed)");
  }

  // Index of the registered piece that holds all of the request's memory, or -1.
  int registration(const IoRequest& request) const {
    for (size_t i = 0; i < registered_.size(); ++i) {
      const auto* begin = static_cast<const std::byte*>(registered_[i].iov_base);
      if (request.data >= begin && request.data + request.bytes <= begin + registered_[i].iov_len)
        return static_cast<int>(i);
    }
    return -1;
  }

  void prepare(const IoRequest& request) {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    require(entry != nullptr, "the submission ring has as many entries as the engine");
    const bool read = request.kind == IoRequest::Kind::kRead;
    const auto bytes = static_cast<unsigned>(request.bytes);
    const auto offset = static_cast<uint64_t>(request.offset);
    const int piece = registration(request);
    if (piece >= 0 && read)
      io_uring_prep_read_fixed(entry, request.fd, request.data, bytes, offset, piece);
    else if (piece >= 0)
      io_uring_prep_write_fixed(entry, request.fd, request.data, bytes, offset, piece);
    else if (read)
      io_uring_prep_read(entry, request.fd, request.data, bytes, offset);
    else
      io_uring_prep_write(entry, request.fd, request.data, bytes, offset);
    io_uring_sqe_set_data64(entry, request.tag);
  }

  int take(std::span<IoCompletion> completions) {
    size_t count = 0;
    io_uring_cqe* entry = nullptr;
    while (count < completions.size() && io_uring_peek_cqe(&ring_, &entry) == 0) {
      completions[count++] = {io_uring_cqe_get_data64(entry), entry->res};
      io_uring_cqe_seen(&ring_, entry);
    }
    in_flight_ -= static_cast<int>(count);
    return static_cast<int>(count);
  }

  int capacity_;
  int in_flight_ = 0;
  EventFd ready_;
  io_uring ring_{};
  std::vector<iovec> registered_;
};

}  // namespace

std::unique_ptr<IoEngine> make_uring_engine(int capacity) {
  return std::make_unique<UringEngine>(capacity);
}

}  // namespace zerostream
