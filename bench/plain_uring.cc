#include "bench/plain_uring.h"

#include <liburing.h>

#include <chrono>
#include <cstring>
#include <string>

#include "zerostream/error.h"

namespace zerostream {
namespace {

void check(int result, const char* what) {
  if (result >= 0) return;
  throw IoError(std::string("plain io_uring loop: ") + what + ": " + std::strerror(-result),
                -result);
}

class Ring {
 public:
  explicit Ring(int entries) {
    check(io_uring_queue_init(static_cast<unsigned>(entries), &ring_, 0), "setup");
  }
  ~Ring() { io_uring_queue_exit(&ring_); }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  io_uring* get() { return &ring_; }

 private:
  io_uring ring_{};
};

}  // namespace

double plain_uring_seconds(const PlainRead& read, std::byte* memory) {
  Ring ring(read.depth);
  int64_t next = 0;
  int in_flight = 0;
  const auto send = [&](uint64_t slot) {
    io_uring_sqe* entry = io_uring_get_sqe(ring.get());
    io_uring_prep_read(entry, read.fd, memory + static_cast<int64_t>(slot) * read.block,
                       static_cast<unsigned>(read.block), static_cast<uint64_t>(next));
    io_uring_sqe_set_data64(entry, slot);
    next += read.block;
    ++in_flight;
  };
  const auto begin = std::chrono::steady_clock::now();
  for (int slot = 0; slot < read.depth && next < read.bytes; ++slot)
    send(static_cast<uint64_t>(slot));
  check(io_uring_submit(ring.get()), "submit");
  while (in_flight > 0) {
    io_uring_cqe* entry = nullptr;
    const int result = io_uring_wait_cqe(ring.get(), &entry);
    if (result == -EINTR) continue;
    check(result, "wait");
    check(entry->res == read.block ? 0 : entry->res < 0 ? entry->res : -EIO, "read");
    const uint64_t slot = io_uring_cqe_get_data64(entry);
    io_uring_cqe_seen(ring.get(), entry);
    --in_flight;
    if (next >= read.bytes) continue;
    send(slot);
    check(io_uring_submit(ring.get()), "submit");
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace zerostream
