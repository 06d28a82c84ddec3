// Writes memory to files while others compute.
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

#include "base/timeline.h"
#include "nvme/file.h"
#include "nvme/io_engine.h"
#include "nvme/transfer.h"

namespace zerostream {

// `count` runs of `bytes` each, the i-th from data + i * data_stride to offset + i * offset_stride.
struct WriteJob {
  int64_t tag = 0;  // the caller's
  const File* file = nullptr;
  int64_t offset = 0, offset_stride = 0;
  const std::byte* data = nullptr;
  int64_t data_stride = 0;
  int64_t bytes = 0;
  int32_t count = 1;
};

// Takes write jobs and reports them as they end, in any order. A timeline, if given, gets a span on
// kKvWrite for each. One thread of its own; it owns the
// engine. File and memory of a job must stay, and the memory unchanged, until the job is reported.
//
// Threads: one caller. Errors: once a write failed every later call of collect() or wait() throws
// its IoError. Destruction drops what has not begun and waits for what is in flight.
class BackgroundWriter {
 public:
  explicit BackgroundWriter(std::unique_ptr<IoEngine> engine, TransferOptions options = {},
                            Timeline* timeline = nullptr);
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
  void finish_run(Running& running, std::exception_ptr error);
  void rethrow() const;

  Timeline* const timeline_;
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
