// Streams and events of the emulated runtime.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <thread>

// A point in a stream that passes once.
class CudaEmulatorMark {
 public:
  void pass();
  bool passed() const;
  void wait();

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool passed_ = false;
};

// cudaEvent_t: the mark of its last record, null if there is none.
struct CUevent_st {
  std::shared_ptr<CudaEmulatorMark> mark() const;
  void set_mark(std::shared_ptr<CudaEmulatorMark> mark);

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<CudaEmulatorMark> mark_;
};

// cudaStream_t: a thread that runs operations in order. `prepare` runs first on that thread. The
// destructor runs what is queued.
struct CUstream_st {
  CUstream_st(std::function<void()> prepare, int delay_us);
  ~CUstream_st();
  void push(std::function<void()> operation);
  std::shared_ptr<CudaEmulatorMark> push_mark();

 private:
  void thread_main();

  const int delay_us_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  bool stopping_ = false;
  std::thread thread_;
};
