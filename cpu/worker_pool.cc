#include "cpu/worker_pool.h"

#include <pthread.h>

#include <chrono>

namespace zerostream {
namespace {

constexpr uint32_t kOpen = 1u << 31;
constexpr std::chrono::microseconds kSpinTime(50);

// Returns once `word` differs from `old`.
void wait_while_equal(std::atomic<uint32_t>& word, uint32_t old) {
  const auto until = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int i = 0; i < 16; ++i) {
      if (word.load(std::memory_order_acquire) != old) return;
      __builtin_ia32_pause();
    }
  } while (std::chrono::steady_clock::now() < until);
  word.wait(old, std::memory_order_acquire);
}

}  // namespace

void name_this_thread(const std::string& name) {
  pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
}

WorkerPool::WorkerPool(int workers, const std::string& name) {
  threads_.reserve(static_cast<size_t>(workers - 1));
  for (int worker = 1; worker < workers; ++worker)
    threads_.emplace_back([this, worker, thread_name = name + "-" + std::to_string(worker)] {
      name_this_thread(thread_name);
      thread_main(worker);
    });
}

WorkerPool::~WorkerPool() {
  stopping_.store(true);
  generation_.fetch_add(1);
  generation_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void WorkerPool::run(int64_t count, Call call, void* context) {
  call_ = call;
  context_ = context;
  count_ = count;
  next_.store(0, std::memory_order_relaxed);
  error_ = nullptr;
  if (threads_.empty() || count <= 1) {
    claim_all(0);
  } else {
    joined_.store(kOpen, std::memory_order_release);
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
    claim_all(0);
    uint32_t inside = joined_.fetch_and(~kOpen, std::memory_order_acq_rel) & ~kOpen;
    for (; inside != 0; inside = joined_.load(std::memory_order_acquire))
      wait_while_equal(joined_, inside);
  }
  if (error_ != nullptr) std::rethrow_exception(error_);
}

void WorkerPool::claim_all(int worker) noexcept {
  for (;;) {
    const int64_t index = next_.fetch_add(1, std::memory_order_relaxed);
    if (index >= count_) return;
    try {
      call_(context_, worker, index);
    } catch (...) {
      const std::lock_guard lock(error_mutex_);
      if (error_ == nullptr) error_ = std::current_exception();
      next_.store(count_, std::memory_order_relaxed);
    }
  }
}

// A thread that comes when the loop is over must not hold up the next one: only those that have
// joined are waited for.
bool WorkerPool::join() {
  uint32_t joined = joined_.load(std::memory_order_relaxed);
  do {
    if ((joined & kOpen) == 0) return false;
  } while (!joined_.compare_exchange_weak(joined, joined + 1, std::memory_order_acquire,
                                          std::memory_order_relaxed));
  return true;
}

void WorkerPool::leave() {
  if (joined_.fetch_sub(1, std::memory_order_acq_rel) == 1) joined_.notify_all();
}

void WorkerPool::thread_main(int worker) {
  uint32_t seen = 0;
  for (;;) {
    wait_while_equal(generation_, seen);
    if (stopping_.load()) return;
    seen = generation_.load(std::memory_order_acquire);
    if (!join()) continue;
    claim_all(worker);
    leave();
  }
}

}  // namespace zerostream
