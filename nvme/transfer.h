// Whole transfers of any size over an IoEngine.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "nvme/file.h"
#include "nvme/io_engine.h"

namespace zerostream {

struct TransferOptions {
  int64_t block_size = int64_t{4} << 20;  // bytes of one request; direct reads gain nothing above
  int max_retries =
      0;  // of a request that failed with EIO or ETIMEDOUT; EAGAIN, EINTR always retry
};

// One read of a file into memory. The file, the memory and this must stay until `done` was called.
// For a direct file, `offset` and `data` are aligned to file->alignment() and memory up to
// round_up(bytes, alignment) is writable: the tail is read whole, past the end of the file if it
// ends there.
struct Transfer {
  const File* file = nullptr;
  int64_t offset = 0;
  std::byte* data = nullptr;
  int64_t bytes = 0;
  // Called from pump() in the pumping thread, once. `error` is null on success, else an IoError
  // with path, offset, bytes and errno (0 and "end of file" for a file that is too short).
  std::function<void(std::exception_ptr error)> done;
};

// Cuts transfers into blocks, keeps the engine's queue full in order of submission, resumes short
// reads, retries, and reports each transfer alone. After an error of one block the transfer's other
// blocks are awaited before done().
//
// Threads: one thread. The engine must outlive this and serve nobody else.
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

// Reads or writes synchronously, with the same treatment; for headers and small files. Threads:
// any.
void read_fully(const File& file, int64_t offset, std::byte* data, int64_t bytes);
void write_fully(const File& file, int64_t offset, const std::byte* data, int64_t bytes);

}  // namespace zerostream
