// Writes memory to files, or to other memory, while others compute.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/device.h"
#include "base/timeline.h"
#include "nvme/file.h"
#include "nvme/io_engine.h"
#include "nvme/transfer.h"

namespace zerostream {

// `count` runs of `bytes` each, the i-th from data + i * data_stride to offset + i * offset_stride.
struct WriteJob {
  int64_t tag = 0;  // the caller's
  const File* file = nullptr;
  // Only from a device with memory of its own: pinned memory to write to instead of a file.
  std::byte* target = nullptr;
  int64_t offset = 0, offset_stride = 0;
  const std::byte* data = nullptr;
  int64_t data_stride = 0;
  int64_t bytes = 0;
  int32_t count = 1;

  const std::byte* run(int32_t index) const { return data + index * data_stride; }
};

struct WriterOptions {
  TransferOptions transfer = {};
  Timeline* timeline = nullptr;  // gets a span on kKvWrite for every job; may be null
  // Whose memory is written; null: host memory.
  Device* device = nullptr;
  // Where that device has memory of its own: of pinned memory that runs of up to `run_bytes` pass
  // through on their way to a file. Counted in the plan.
  int64_t pinned_bytes = 0;
  int64_t run_bytes = 0;
};

// Takes write jobs and reports them as they end, in any order. Has a thread of its own, which owns
// the engine. What a device has in memory of its own is copied to pinned memory first, by a copy
// stream that the thread waits for. File and memory of a job must stay, and the memory unchanged,
// until the job is reported; what was enqueued to write that memory is done when it is submitted.
//
// Threads: one caller. Errors: once a write or a copy failed every later call of collect() or
// wait() throws its error. Destruction drops what has not begun and waits for what is in flight.
class BackgroundWriter {
 public:
  explicit BackgroundWriter(std::unique_ptr<IoEngine> engine, const WriterOptions& options = {});
  ~BackgroundWriter();

  void submit(const WriteJob& job);
  int64_t pending() const;  // jobs that were submitted and not yet collected
  // Appends the tags of jobs that ended since the last call.
  void collect(std::vector<int64_t>& tags);
  // Blocks until collect() has something. Returns the seconds that it took. REQUIRES: pending() >
  // 0.
  double wait();
  int64_t bytes_written() const;

 private:
  struct Running {
    WriteJob job;
    int32_t runs_left = 0;
    int64_t begin_ns = 0;  // for the timeline
  };
  void serve();
  void start(const WriteJob& job);
  void write(Running& running, int32_t index, const std::byte* data, std::byte* buffer);
  void write_through_buffers(Running& running);
  void copy_to_target(Running& running);
  void wait_for_copies();
  void finish_run(Running& running, std::exception_ptr error);
  void rethrow() const;

  Timeline* const timeline_;
  const int64_t run_bytes_;
  // From a device with memory of its own; else null and empty.
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<Event> copied_;
  Buffer pinned_;
  std::vector<std::byte*> free_;  // the thread's: runs of pinned_
  std::unique_ptr<IoEngine> engine_;
  std::optional<TransferQueue> queue_;  // the thread's
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<WriteJob> waiting_;
  std::deque<Running> running_;  // the thread's; elements keep their address
  std::vector<int64_t> ended_;
  std::exception_ptr failure_;
  int64_t pending_ = 0;
  int64_t bytes_written_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace zerostream
