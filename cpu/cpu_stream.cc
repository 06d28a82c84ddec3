#include "cpu/cpu_stream.h"

#include <cstring>
#include <utility>

#include "base/require.h"
#include "base/tensor.h"

namespace zerostream {
namespace {

CpuEvent& as_cpu_event(Event& event) {
  auto* cpu_event = dynamic_cast<CpuEvent*>(&event);
  require(cpu_event != nullptr, "events of a CPU stream come from the CPU device");
  return *cpu_event;
}

}  // namespace

bool CpuEvent::done() const {
  const std::lock_guard lock(mutex_);
  return recorded_ > 0 && passed_ == recorded_;
}

void CpuEvent::wait() { wait_for(last_record()); }

void CpuEvent::begin_record() {
  const std::lock_guard lock(mutex_);
  require(passed_ == recorded_, "an event is recorded again only after its last record passed");
  ++recorded_;
}

// Notifies with the lock held: the waiter may destroy the event as soon as it is let go.
void CpuEvent::pass(std::exception_ptr error) {
  const std::lock_guard lock(mutex_);
  ++passed_;
  error_ = std::move(error);
  changed_.notify_all();
}

uint64_t CpuEvent::last_record() const {
  const std::lock_guard lock(mutex_);
  require(recorded_ > 0, "an event is recorded before anyone waits for it");
  return recorded_;
}

void CpuEvent::wait_for(uint64_t record) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return passed_ >= record; });
  if (error_ != nullptr) std::rethrow_exception(error_);
}

CpuStream::CpuStream(const CpuStreamOptions& options)
    : isa_(options.isa),
      scratch_bytes_(round_up(options.scratch_bytes, kTileBytes)),
      scratch_(allocate_host(scratch_bytes_ * options.workers)),
      shared_scratch_(allocate_host(options.shared_scratch_bytes, Residency::kOnTouch)),
      pool_(options.workers, options.name),
      queue_(std::make_unique<std::array<Entry, kQueueTasks>>()) {
  thread_ = std::thread([this, name = options.name] {
    name_this_thread(name);
    thread_main();
  });
}

CpuStream::~CpuStream() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

void CpuStream::copy(void* target, const void* source, int64_t bytes) {
  enqueue([=] { std::memcpy(target, source, static_cast<size_t>(bytes)); });
}

void CpuStream::record(Event& event) {
  CpuEvent& cpu_event = as_cpu_event(event);
  cpu_event.begin_record();
  push([this, &cpu_event] { cpu_event.pass(error_); }, When::kAlways);
}

void CpuStream::wait(Event& event) {
  CpuEvent& cpu_event = as_cpu_event(event);
  push([&cpu_event, record = cpu_event.last_record()] { cpu_event.wait_for(record); },
       When::kAlways);
}

void CpuStream::run_on_host(HostTask task) {
  push([task = std::move(task)]() mutable { task(); }, When::kAlways);
}

void CpuStream::synchronize() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return begin_ == end_; });
  if (error_ != nullptr) std::rethrow_exception(error_);
}

void CpuStream::push(Task task, When when) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return end_ - begin_ < kQueueTasks; });
  Entry& entry = (*queue_)[end_ % kQueueTasks];
  entry.task = std::move(task);
  entry.when = when;
  ++end_;
  changed_.notify_all();
}

void CpuStream::thread_main() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || begin_ != end_; });
    if (begin_ == end_) return;
    Entry& entry = (*queue_)[begin_ % kQueueTasks];
    lock.unlock();
    run(entry);
    lock.lock();
    ++begin_;
    changed_.notify_all();
  }
}

// The task goes before its slot counts as free, so that what it holds is released in order.
void CpuStream::run(Entry& entry) noexcept {
  try {
    if (entry.when == When::kAlways || error_ == nullptr) entry.task();
  } catch (...) {
    if (error_ == nullptr) error_ = std::current_exception();
  }
  entry.task = Task();
}

}  // namespace zerostream
