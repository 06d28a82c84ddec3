// Streams and events of the CPU device.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/device.h"
#include "cpu/cpu_isa.h"
#include "cpu/worker_pool.h"

namespace zerostream {

// A point in a CpuStream, see Event.
class CpuEvent : public Event {
 public:
  bool done() const override;
  void wait() override;

  // For streams. Records are counted from 1, so that one who waits for a record is not held up when
  // the event is recorded again. begin_record throws InternalError if the last record has not
  // passed. pass: the point is reached; `error` is what stopped the stream before it, or null.
  void begin_record();
  void pass(std::exception_ptr error);
  // The last record. Throws InternalError if there is none.
  uint64_t last_record() const;
  void wait_for(uint64_t record);

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t recorded_ = 0;
  uint64_t passed_ = 0;
  std::exception_ptr error_;
};

struct CpuStreamOptions {
  std::string name = "zs-stream";  // of its threads
  int workers = 1;                 // threads that share an operation, the stream's own included
  CpuIsa isa = CpuIsa::kAvx2;      // the highest that kernels may use here
  int64_t scratch_bytes = 0;       // per worker
  int64_t shared_scratch_bytes = 0;
};

// A FIFO of tasks and the thread that runs them one after the other; see Stream. A full queue
// blocks the caller until the oldest task is done. No call allocates. The destructor runs what is
// queued.
//
// When a task throws, later tasks are skipped; host tasks still run and events still pass, with the
// error. A stream that waits for an event that passed with an error fails with that error too.
class CpuStream : public Stream {
 public:
  static constexpr size_t kTaskBytes = 640;
  static constexpr size_t kQueueTasks = 256;
  using Task = InplaceFunction<kTaskBytes>;

  explicit CpuStream(const CpuStreamOptions& options);
  ~CpuStream() override;

  void copy(void* target, const void* source, int64_t bytes) override;
  void record(Event& event) override;
  void wait(Event& event) override;
  void run_on_host(HostTask task) override;
  void synchronize() override;

  // For kernels: runs `task` on the stream's thread after all earlier ones. It may throw.
  void enqueue(Task task) { push(std::move(task), When::kUnlessFailed); }
  // For tasks only: the workers, what each of them may use as it likes within one task, at least
  // `scratch_bytes` at a 4 KiB boundary, and what they may use together; its pages become resident
  // when they are first touched.
  WorkerPool& pool() { return pool_; }
  std::byte* scratch(int worker) const { return scratch_.data() + worker * scratch_bytes_; }
  int64_t scratch_bytes() const { return scratch_bytes_; }
  std::byte* shared_scratch() const { return shared_scratch_.data(); }
  int64_t shared_scratch_bytes() const { return shared_scratch_.size(); }
  CpuIsa isa() const { return isa_; }

 private:
  enum class When : uint8_t { kUnlessFailed, kAlways };
  struct Entry {
    Task task;
    When when = When::kAlways;
  };

  void push(Task task, When when);
  void thread_main();
  void run(Entry& entry) noexcept;

  const CpuIsa isa_;
  const int64_t scratch_bytes_;
  const Buffer scratch_;
  const Buffer shared_scratch_;
  WorkerPool pool_;

  // Of the stream's thread, and of others while it is idle.
  std::exception_ptr error_;

  std::mutex mutex_;
  std::condition_variable changed_;
  // A ring: tasks begin_ .. end_ - 1 are queued or running, task i in slot i % kQueueTasks.
  std::unique_ptr<std::array<Entry, kQueueTasks>> queue_;
  uint64_t begin_ = 0;
  uint64_t end_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace zerostream
