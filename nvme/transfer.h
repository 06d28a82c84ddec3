// Whole transfers of any size over an IoEngine.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>

#include "nvme/file.h"
#include "nvme/io_engine.h"

namespace zerostream {

struct TransferOptions {
  // Bytes of one request, rounded up to 4 KiB, at most 1 GiB; direct reads gain nothing above 4
  // MiB.
  int64_t block_size = int64_t{4} << 20;
  // Of a request that failed with EIO or ETIMEDOUT; EAGAIN and EINTR are always tried again.
  int max_retries = 0;
};

// One read or write of a run of a file. The file, the memory and the queue must stay until `done`
// was called.
//
// For a direct file, `offset` and `data` are multiples of file->alignment(). A read may then have
// any size, and memory up to round_up(bytes, alignment) is writable: the tail is read whole, up to
// the end of the file if it ends there. A write has a multiple of the alignment.
struct Transfer {
  IoRequest::Kind kind = IoRequest::Kind::kRead;
  const File* file = nullptr;
  int64_t offset = 0;
  std::byte* data = nullptr;
  int64_t bytes = 0;
  // Called from pump() in the pumping thread, once; it may submit, and must not throw. `error` is
  // null on success, else an IoError with path, offset, bytes and errno (0 for a file that ends too
  // early).
  std::function<void(std::exception_ptr error)> done = nullptr;
  // Called, if given, when the first block goes to the engine; it must not submit or throw.
  std::function<void()> begun = nullptr;
};

// Cuts transfers into blocks, keeps the engine's queue full in order of submission, resumes short
// reads, retries, and reports each transfer alone. After an error of one block the transfer's other
// blocks are awaited before done().
//
// Nothing is allocated per block, and nothing per transfer once the queue has been as long before.
// Threads: one thread. The engine must outlive this and serve nobody else. Errors: submit() and
// pump() throw the IoError of an engine that fails itself; this is then of no more use, and what is
// in flight ends with the engine.
class TransferQueue {
 public:
  TransferQueue(IoEngine& engine, TransferOptions options);
  ~TransferQueue();  // waits for what is in flight; done() of unfinished transfers is not called
  // Queues the transfer and starts what fits. `urgent`: before all blocks that are not yet with the
  // engine.
  void submit(Transfer transfer, bool urgent = false);
  // Reaps, resubmits, calls done(). Waits for at least one completion if `wait` and something is in
  // flight.
  void pump(bool wait);
  bool idle() const;           // nothing queued, nothing in flight
  int64_t bytes_done() const;  // bytes that the engine moved, since the beginning

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Read or write synchronously, with the same treatment, in the calling thread; for headers and
// small files. A read may have any offset, size and memory, also of a direct file; a write to a
// direct file is aligned in all three. Threads: any.
void read_fully(const File& file, int64_t offset, std::byte* data, int64_t bytes);
void write_fully(const File& file, int64_t offset, const std::byte* data, int64_t bytes);

}  // namespace zerostream
