#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "base/require.h"
#include "nvme/engines.h"
#include "nvme/event_fd.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int kMostWorkers = 16;

int64_t move_bytes(const IoRequest& request) {
  const auto bytes = static_cast<size_t>(request.bytes);
  const ssize_t result = request.kind == IoRequest::Kind::kRead
                             ? pread(request.fd, request.data, bytes, request.offset)
                             : pwrite(request.fd, request.data, bytes, request.offset);
  return result < 0 ? -errno : result;
}

class ThreadsEngine final : public IoEngine {
 public:
  explicit ThreadsEngine(int capacity)
      : capacity_(capacity), queue_(static_cast<size_t>(capacity)) {
    done_.reserve(queue_.size());
    try {
      for (int i = 0; i < std::min(capacity, kMostWorkers); ++i)
        workers_.emplace_back([this] { work(); });
    } catch (const std::system_error& error) {  // fewer do as well
      if (workers_.empty()) throw UsageError(std::string("threads: ") + error.what());
    }
  }

  ~ThreadsEngine() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    work_came_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  std::string name() const override { return "threads"; }
  int capacity() const override { return capacity_; }
  int event_fd() const override { return ready_.fd(); }
  std::string register_buffer(std::byte*, int64_t) override {
    return "threads register no buffers";
  }

  void submit(std::span<const IoRequest> requests) override {
    {
      std::lock_guard lock(mutex_);
      require(in_flight_ + requests.size() <= queue_.size(), "the engine has room");
      for (const IoRequest& request : requests)
        queue_[(head_ + waiting_++) % queue_.size()] = request;
      in_flight_ += requests.size();
    }
    work_came_.notify_all();
  }

  int reap(int min, std::span<IoCompletion> completions) override {
    std::unique_lock lock(mutex_);
    done_came_.wait(lock, [&] { return done_.size() >= static_cast<size_t>(min); });
    ready_.drain();
    const size_t count = std::min(done_.size(), completions.size());
    std::copy_n(done_.begin(), count, completions.begin());
    done_.erase(done_.begin(), done_.begin() + static_cast<ptrdiff_t>(count));
    in_flight_ -= count;
    return static_cast<int>(count);
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    while (true) {
      work_came_.wait(lock, [&] { return stopping_ || waiting_ > 0; });
      if (stopping_) return;
      const IoRequest request = queue_[head_];
      head_ = (head_ + 1) % queue_.size();
      --waiting_;
      lock.unlock();
      const int64_t result = move_bytes(request);
      lock.lock();
      done_.push_back({request.tag, result});
      done_came_.notify_one();
      ready_.signal();
    }
  }

  const int capacity_;
  EventFd ready_;
  std::mutex mutex_;
  std::condition_variable work_came_;
  std::condition_variable done_came_;
  // Below: protected by mutex_. queue_ is a ring of which waiting_ requests from head_ on wait.
  std::vector<IoRequest> queue_;
  size_t head_ = 0;
  size_t waiting_ = 0;
  size_t in_flight_ = 0;
  std::vector<IoCompletion> done_;
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace

std::unique_ptr<IoEngine> make_threads_engine(int capacity) {
  return std::make_unique<ThreadsEngine>(capacity);
}

}  // namespace zerostream
