#include "tests/cuda_emulator/stream.h"

#include <chrono>
#include <utility>

void CudaEmulatorMark::pass() {
  const std::lock_guard lock(mutex_);
  passed_ = true;
  changed_.notify_all();
}

bool CudaEmulatorMark::passed() const {
  const std::lock_guard lock(mutex_);
  return passed_;
}

void CudaEmulatorMark::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return passed_; });
}

std::shared_ptr<CudaEmulatorMark> CUevent_st::mark() const {
  const std::lock_guard lock(mutex_);
  return mark_;
}

void CUevent_st::set_mark(std::shared_ptr<CudaEmulatorMark> mark) {
  const std::lock_guard lock(mutex_);
  mark_ = std::move(mark);
}

CUstream_st::CUstream_st(std::function<void()> prepare, int delay_us) : delay_us_(delay_us) {
  thread_ = std::thread([this, prepare = std::move(prepare)] {
    prepare();
    thread_main();
  });
}

CUstream_st::~CUstream_st() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

void CUstream_st::push(std::function<void()> operation) {
  const std::lock_guard lock(mutex_);
  queue_.push_back(std::move(operation));
  changed_.notify_all();
}

std::shared_ptr<CudaEmulatorMark> CUstream_st::push_mark() {
  auto mark = std::make_shared<CudaEmulatorMark>();
  push([mark] { mark->pass(); });
  return mark;
}

void CUstream_st::thread_main() {
  std::minstd_rand random;
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    const std::function<void()> operation = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    if (delay_us_ > 0)
      std::this_thread::sleep_for(
          std::chrono::microseconds(random() % static_cast<unsigned>(delay_us_)));
    operation();
    lock.lock();
  }
}
