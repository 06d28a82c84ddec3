// Threads that share the work of one operation.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

namespace zerostream {

// Runs loops over independent indices on a fixed number of workers. The thread that calls
// parallel_for is worker 0; the others are threads of the pool, which spin briefly for the next
// loop and then sleep.
//
// Threads: one at a time calls parallel_for, and never from inside a body. No call allocates.
// Errors: the first exception of a body is rethrown by parallel_for when all workers have left the
// loop; indices that nobody has claimed by then are skipped.
class WorkerPool {
 public:
  // Starts workers - 1 threads named "<name>-1" and so on.
  WorkerPool(int workers, const std::string& name);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  int workers() const { return static_cast<int>(threads_.size()) + 1; }

  // Calls body(int worker, int64_t index) once for every index in [0, count). A worker takes the
  // lowest index left whenever it is free. Returns when all calls have returned; what they wrote is
  // visible to the caller.
  template <typename F>
  void parallel_for(int64_t count, F&& body) {
    using Body = std::remove_reference_t<F>;
    run(
        count,
        [](void* context, int worker, int64_t index) {
          (*static_cast<Body*>(context))(worker, index);
        },
        const_cast<std::remove_const_t<Body>*>(&body));
  }

 private:
  using Call = void (*)(void* context, int worker, int64_t index);

  void run(int64_t count, Call call, void* context);
  void claim_all(int worker) noexcept;
  bool join();
  void leave();
  void thread_main(int worker);

  // The loop. Written by the caller while nobody has joined.
  Call call_ = nullptr;
  void* context_ = nullptr;
  int64_t count_ = 0;
  std::atomic<int64_t> next_{0};
  std::mutex error_mutex_;
  std::exception_ptr error_;

  // Which loop this is, what sleeping workers wait on.
  std::atomic<uint32_t> generation_{0};
  // How many pool threads are inside the loop, plus kOpen while more may join.
  std::atomic<uint32_t> joined_{0};
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> threads_;
};

// Names the calling thread for debuggers and `top`; at most 15 characters count.
void name_this_thread(const std::string& name);

}  // namespace zerostream
