#include "offload/request_queue.h"

#include <chrono>

#include "base/require.h"

namespace zerostream {
namespace {

constexpr std::chrono::milliseconds kPatience{100};

}  // namespace

RequestQueue::RequestQueue(Source source)
    : source_(std::move(source)), reader_(source_.input, stop_), thread_([this] { read_rows(); }) {}

RequestQueue::~RequestQueue() {
  stop();
  thread_.join();
}

void RequestQueue::stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
}

bool RequestQueue::ended() {
  const std::lock_guard lock(mutex_);
  return stop_ || (ended_ && ready_.empty());
}

std::optional<GenerationRequest> RequestQueue::next() {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, kPatience, [&] { return !ready_.empty() || ended_ || stop_; });
  if (stop_) return std::nullopt;
  if (ready_.empty()) {
    if (error_ != nullptr) std::rethrow_exception(error_);
    return std::nullopt;
  }
  Ready ready = std::move(ready_.front());
  ready_.pop_front();
  bytes_ -= ready.bytes;
  lock.unlock();
  changed_.notify_all();
  in_work_.emplace(ready.request.handle, std::move(ready.row));
  return std::move(ready.request);
}

FinishedRow RequestQueue::finish(GenerationResult result) {
  auto node = in_work_.extract(result.handle);
  require(!node.empty(), "a result belongs to a request");
  FinishedRow row = std::move(node.mapped());
  row.result = std::move(result);
  return row;
}

void RequestQueue::read_rows() {
  std::exception_ptr error;
  try {
    while (const auto row = reader_.next()) {
      if (row->error || !source_.done(row->identity)) add(*row);
      if (stop_) break;
    }
  } catch (...) {
    error = std::current_exception();
  }
  {
    const std::lock_guard lock(mutex_);
    error_ = error;
    ended_ = true;
  }
  changed_.notify_all();
}

void RequestQueue::add(const InputRow& input) {
  FinishedRow row;
  row.id = input.id;
  row.place = {.index = input.index, .numbered = input.numbered};
  row.identity = input.identity;
  try {
    GenerationRequest request = make_request(input, source_.context);
    row.prompt_tokens = static_cast<int64_t>(request.prompt_tokens.size());
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !full() || stop_; });
    bytes_ += input.bytes;
    ready_.push_back({std::move(request), std::move(row), input.bytes});
  } catch (const RowError& error) {
    row.result.purpose = source_.context.purpose;
    row.result.reason = FinishReason::kError;
    row.result.error_code = error.code();
    row.result.error_message = error.what();
    source_.reject(std::move(row));
  }
  changed_.notify_all();
}

}  // namespace zerostream
