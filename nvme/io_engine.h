// Asynchronous reads and writes of files.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace zerostream {

// One read or write. For direct files, offset, bytes and data are multiples of the file's
// alignment.
struct IoRequest {
  enum class Kind : uint8_t { kRead, kWrite };
  Kind kind = Kind::kRead;
  int fd = -1;
  int64_t offset = 0;
  std::byte* data = nullptr;
  int64_t bytes = 0;
  uint64_t tag = 0;  // comes back with the completion
};

// How a request ended: bytes moved (may be fewer than asked, 0 at the end of the file) or -errno.
struct IoCompletion {
  uint64_t tag = 0;
  int64_t result = 0;
};

// A queue to the kernel of fixed capacity. It moves bytes and reports what happened; splitting,
// retries and tails are TransferQueue's (nvme/transfer.h).
//
// Implementations: io_uring, libaio, worker threads (pread/pwrite), null; faulty and throttled wrap
// another one. Threads: one thread at a time. Errors: submit() and reap() throw IoError when the
// queue itself fails; a failed request is a completion. Destruction waits for everything in flight:
// buffers may be freed afterwards.
class IoEngine {
 public:
  virtual ~IoEngine() = default;
  virtual std::string name() const = 0;
  // Most requests in flight.
  virtual int capacity() const = 0;
  // Hands over all requests. REQUIRES: in flight + requests.size() <= capacity().
  virtual void submit(std::span<const IoRequest> requests) = 0;
  // Moves completions into `completions`, waiting until at least `min` came; returns how many. min
  // <= in flight and <= completions.size(); 0 never blocks. EINTR is handled inside.
  virtual int reap(int min, std::span<IoCompletion> completions) = 0;
  // Becomes readable when completions may be waiting; for epoll and poll only, reap() resets it. A
  // reap() that fills `completions` may leave more behind without waking anybody. The waiting call
  // may be interrupted (EINTR) by an engine's own work.
  virtual int event_fd() const = 0;
  // Registers the memory that later requests use, so that the kernel need not map it each time.
  // Optional: returns an empty string when done, or why it could not be (locked memory limit),
  // after which requests work unregistered. REQUIRES: nothing in flight. The memory stays pinned as
  // long as the engine lives.
  virtual std::string register_buffer(std::byte* data, int64_t bytes) = 0;
};

enum class IoEngineKind : uint8_t { kAuto, kUring, kLibaio, kThreads };

// Makes an engine. kAuto tries io_uring, libaio, threads in turn; each rung that failed adds "name:
// reason" to *skipped (may be null). A kind asked for by name that this machine or build lacks
// throws UsageError with the reason.
std::unique_ptr<IoEngine> make_io_engine(IoEngineKind kind, int capacity, std::string* skipped);

}  // namespace zerostream
