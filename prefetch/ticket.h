// The prefetcher's side of a Fetch.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "base/digest.h"
#include "nvme/event_fd.h"
#include "prefetch/prefetcher.h"

namespace zerostream {

// How far a fetch through pinned buffers has come (staging.h).
struct StagedPart {
  int64_t next = 0;      // where the next piece begins
  size_t run = 0;        // the file's run that it begins in,
  int64_t run_read = 0;  // and how far into that run
  bool more = true;      // pieces are left to read
  int reads = 0;         // pieces being read
  int buffers = 0;       // pieces in buffers: being read or copied
  std::exception_ptr error;
  std::optional<Digest> digest;  // where one is asked for: of the bytes before `digested`
  int64_t digested = 0;
};

// A fetch from its submission to its release; then used again for another one. It outlives the
// prefetcher where somebody still holds it. Threads: any, but for the public members, which
// belong to the prefetcher.
class Ticket final : public Fetch {
 public:
  // `wake` tells the prefetcher that something changed. `ready_event`: see Fetch, may be null.
  Ticket(std::shared_ptr<EventFd> wake, std::unique_ptr<Event> ready_event);

  FetchState state() const override;
  double wait() override;
  std::byte* data() const override;
  Event* ready_event() const override { return ready_event_.get(); }

  // Queued, with a new request. REQUIRES: nobody else holds the ticket.
  void begin(const FetchRequest& fetch_request);
  void start(std::byte* slot);
  void succeed();  // nothing if failed or released
  // Nothing if failed or released, or if somebody has already waited with success.
  void fail(std::exception_ptr error);
  void release();
  bool released() const;
  bool wanted() const;  // somebody waits, or has waited
  std::byte* slot() const;

  FetchRequest request;
  bool reading = false;            // bytes may still arrive in the slot
  int64_t pieces_left = 0;         // of a fetch that is read into its slot
  std::exception_ptr piece_error;  // of the first piece that failed
  int64_t read_begin_ns = 0;       // of the first request, for timelines; 0: none yet
  StagedPart staged;

 private:
  bool pending() const { return state_ == FetchState::kQueued || state_ == FetchState::kReading; }

  const std::shared_ptr<EventFd> wake_;
  const std::unique_ptr<Event> ready_event_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Below: protected by mutex_.
  FetchState state_ = FetchState::kReleased;
  std::byte* slot_ = nullptr;
  bool wanted_ = false;
  bool released_ = true;
  std::exception_ptr error_;
};

// What a transfer of the ticket does when it begins: nothing without a timeline.
std::function<void()> note_begin(Ticket& ticket, const Timeline* timeline);

}  // namespace zerostream
