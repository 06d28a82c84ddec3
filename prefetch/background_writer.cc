#include "prefetch/background_writer.h"

#include <chrono>

#include "base/require.h"

namespace zerostream {

BackgroundWriter::BackgroundWriter(std::unique_ptr<IoEngine> engine, TransferOptions options,
                                   Timeline* timeline)
    : timeline_(timeline), engine_(std::move(engine)), queue_(std::in_place, *engine_, options) {
  thread_ = std::thread([this] { serve(); });
}

BackgroundWriter::~BackgroundWriter() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    waiting_.clear();
  }
  changed_.notify_all();
  thread_.join();
}

void BackgroundWriter::submit(const WriteJob& job) {
  {
    std::lock_guard lock(mutex_);
    waiting_.push_back(job);
    ++pending_;
  }
  changed_.notify_all();
}

int64_t BackgroundWriter::pending() const {
  std::lock_guard lock(mutex_);
  return pending_;
}

void BackgroundWriter::collect(std::vector<int64_t>& tags) {
  std::lock_guard lock(mutex_);
  rethrow();
  tags.insert(tags.end(), ended_.begin(), ended_.end());
  pending_ -= std::ssize(ended_);
  ended_.clear();
}

double BackgroundWriter::wait() {
  const auto begin = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  require(pending_ > 0, "something is being written");
  changed_.wait(lock, [this] { return !ended_.empty() || failure_ != nullptr; });
  rethrow();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

int64_t BackgroundWriter::bytes_written() const {
  std::lock_guard lock(mutex_);
  return bytes_written_;
}

void BackgroundWriter::rethrow() const {
  if (failure_ != nullptr) std::rethrow_exception(failure_);
}

void BackgroundWriter::serve() {
  std::vector<WriteJob> begun;
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || !waiting_.empty() || !queue_->idle(); });
    if (failure_ != nullptr) waiting_.clear();
    if (stopping_ && waiting_.empty() && queue_->idle()) return;
    begun.swap(waiting_);
    lock.unlock();
    try {
      for (const WriteJob& job : begun) start(job);
      begun.clear();
      queue_->pump(true);
      lock.lock();
    } catch (...) {  // the engine is of no use any more
      queue_.reset();
      lock.lock();
      failure_ = std::current_exception();
      changed_.notify_all();
      return;
    }
  }
}

void BackgroundWriter::start(const WriteJob& job) {
  Running& running =
      running_.emplace_back(Running{job, job.count, timeline_ != nullptr ? timeline_now_ns() : 0});
  for (int32_t i = 0; i < job.count; ++i)
    queue_->submit({.kind = IoRequest::Kind::kWrite,
                    .file = job.file,
                    .offset = job.offset + i * job.offset_stride,
                    .data = const_cast<std::byte*>(job.data) + i * job.data_stride,
                    .bytes = job.bytes,
                    .done = [this, &running](std::exception_ptr error) {
                      finish_run(running, std::move(error));
                    }});
}

void BackgroundWriter::finish_run(Running& running, std::exception_ptr error) {
  --running.runs_left;
  std::lock_guard lock(mutex_);
  if (error != nullptr && failure_ == nullptr) failure_ = std::move(error);
  if (error == nullptr) bytes_written_ += running.job.bytes;
  if (running.runs_left > 0) return;
  if (timeline_ != nullptr)
    timeline_->add(Track::kKvWrite, "KV", running.begin_ns, timeline_now_ns());
  ended_.push_back(running.job.tag);
  while (!running_.empty() && running_.front().runs_left == 0) running_.pop_front();
  changed_.notify_all();
}

}  // namespace zerostream
