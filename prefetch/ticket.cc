#include "prefetch/ticket.h"

#include <chrono>
#include <utility>

#include "base/require.h"

namespace zerostream {

Ticket::Ticket(std::shared_ptr<EventFd> wake, std::unique_ptr<Event> ready_event)
    : wake_(std::move(wake)), ready_event_(std::move(ready_event)) {}

FetchState Ticket::state() const {
  std::lock_guard lock(mutex_);
  return state_;
}

double Ticket::wait() {
  std::unique_lock lock(mutex_);
  if (state_ == FetchState::kQueued && !wanted_) wake_->signal();
  wanted_ = true;
  double seconds = 0;
  if (pending()) {
    const auto begin = std::chrono::steady_clock::now();
    changed_.wait(lock, [this] { return !pending(); });
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  if (state_ == FetchState::kFailed) std::rethrow_exception(error_);
  require(state_ == FetchState::kReady, "a fetch is waited for before its release");
  return seconds;
}

std::byte* Ticket::data() const {
  std::lock_guard lock(mutex_);
  require(slot_ != nullptr && !released_, "data() is asked of a fetch that holds a slot");
  return slot_;
}

void Ticket::begin(const FetchRequest& fetch_request) {
  request = fetch_request;
  reading = false;
  read_begin_ns = 0;
  std::lock_guard lock(mutex_);
  state_ = FetchState::kQueued;
  slot_ = nullptr;
  wanted_ = false;
  released_ = false;
  error_ = nullptr;
}

void Ticket::start(std::byte* slot) {
  reading = true;
  std::lock_guard lock(mutex_);
  slot_ = slot;
  if (state_ == FetchState::kQueued) state_ = FetchState::kReading;
}

void Ticket::succeed() {
  std::lock_guard lock(mutex_);
  if (state_ != FetchState::kReading) return;
  state_ = FetchState::kReady;
  changed_.notify_all();
}

void Ticket::fail(std::exception_ptr error) {
  std::lock_guard lock(mutex_);
  if (state_ == FetchState::kFailed || released_) return;
  if (state_ == FetchState::kReady && wanted_) return;
  state_ = FetchState::kFailed;
  error_ = std::move(error);
  changed_.notify_all();
}

void Ticket::release() {
  std::lock_guard lock(mutex_);
  released_ = true;
  if (state_ != FetchState::kFailed) state_ = FetchState::kReleased;
  changed_.notify_all();
}

bool Ticket::released() const {
  std::lock_guard lock(mutex_);
  return released_;
}

bool Ticket::wanted() const {
  std::lock_guard lock(mutex_);
  return wanted_;
}

std::byte* Ticket::slot() const {
  std::lock_guard lock(mutex_);
  return slot_;
}

std::function<void()> note_begin(Ticket& ticket, const Timeline* timeline) {
  if (timeline == nullptr) return {};
  return [&ticket] {
    if (ticket.read_begin_ns == 0) ticket.read_begin_ns = timeline_now_ns();
  };
}

}  // namespace zerostream
