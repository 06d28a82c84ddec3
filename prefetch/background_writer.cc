#include "prefetch/background_writer.h"

#include <algorithm>
#include <chrono>

#include "base/require.h"

namespace zerostream {

BackgroundWriter::BackgroundWriter(std::unique_ptr<IoEngine> engine, const WriterOptions& options)
    : timeline_(options.timeline),
      run_bytes_(options.run_bytes),
      engine_(std::move(engine)),
      queue_(std::in_place, *engine_, options.transfer) {
  if (options.device != nullptr && !options.device->shares_host_memory()) {
    stream_ = options.device->make_copy_stream();
    copied_ = options.device->make_event();
    pinned_ = options.device->allocate_pinned(options.pinned_bytes);
    for (int64_t at = 0; run_bytes_ > 0 && at + run_bytes_ <= pinned_.size(); at += run_bytes_)
      free_.push_back(pinned_.data() + at);
  }
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
  if (job.target != nullptr) return copy_to_target(running);
  if (stream_ != nullptr) return write_through_buffers(running);
  for (int32_t i = 0; i < job.count; ++i) write(running, i, job.run(i), nullptr);
}

// `buffer`: is free again when the run is written; may be null.
void BackgroundWriter::write(Running& running, int32_t index, const std::byte* data,
                             std::byte* buffer) {
  const WriteJob& job = running.job;
  queue_->submit({.kind = IoRequest::Kind::kWrite,
                  .file = job.file,
                  .offset = job.offset + index * job.offset_stride,
                  .data = const_cast<std::byte*>(data),
                  .bytes = job.bytes,
                  .done = [this, &running, buffer](std::exception_ptr error) {
                    if (buffer != nullptr) free_.push_back(buffer);
                    finish_run(running, std::move(error));
                  }});
}

void BackgroundWriter::write_through_buffers(Running& running) {
  const WriteJob& job = running.job;
  require(0 < job.bytes && job.bytes <= std::min(run_bytes_, pinned_.size()),
          "a run fits a buffer");
  for (int32_t first = 0; first < job.count;) {
    while (free_.empty()) queue_->pump(true);
    const auto runs = std::min<int32_t>(job.count - first, static_cast<int32_t>(free_.size()));
    for (int32_t i = 0; i < runs; ++i)
      stream_->copy(*(free_.rbegin() + i), job.run(first + i), job.bytes);
    wait_for_copies();
    for (const int32_t end = first + runs; first < end; ++first) {
      std::byte* buffer = free_.back();
      free_.pop_back();
      write(running, first, buffer, buffer);
    }
  }
}

void BackgroundWriter::copy_to_target(Running& running) {
  const WriteJob& job = running.job;
  for (int32_t i = 0; i < job.count; ++i)
    stream_->copy(job.target + job.offset + i * job.offset_stride, job.run(i), job.bytes);
  wait_for_copies();
  for (int32_t left = job.count; left > 0; --left) finish_run(running, nullptr);
}

void BackgroundWriter::wait_for_copies() {
  stream_->record(*copied_);
  copied_->wait();
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
