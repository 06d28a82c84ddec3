// The way of segments to a device with memory of its own.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "base/device.h"
#include "base/timeline.h"
#include "nvme/event_fd.h"
#include "nvme/transfer.h"
#include "prefetch/ticket.h"

namespace zerostream {

struct StagingOptions {
  int64_t pinned_bytes = 0;      // of all buffers together
  int64_t piece_bytes = 0;       // of one buffer: read, copied and given back as a whole
  Timeline* timeline = nullptr;  // gets a span for every copy; may be null
};

// Reads segments piece by piece into pinned buffers and copies each piece on to its slot, on a copy
// stream, while others are being read. What lies in pinned memory is copied from there. Segments
// begin in order; a fetch is done when its last copy is enqueued and its ready event recorded, and
// its ticket stays `reading` until the copy has passed. Where a digest is asked for, buffers are
// kept until the pieces before them have come.
//
// Threads: the prefetcher's. Destruction waits for the copies; the transfer queue must be gone.
class Staging {
 public:
  using Done = std::function<void(Ticket& ticket, std::exception_ptr error)>;
  // Signals `wake` when buffers come back, so that fill() is called. `done`: called once for each
  // ticket, within TransferQueue::pump() or add().
  Staging(Device& device, EventFd& wake, StagingOptions options, Done done);
  ~Staging();

  std::byte* memory() const { return memory_.data(); }
  int64_t bytes() const { return memory_.size(); }
  // Queues a ticket that has a slot.
  void add(Ticket& ticket);
  // Takes back buffers whose copies have passed, and reads the next pieces into free ones.
  void fill(TransferQueue& queue);

 private:
  struct Piece {
    Ticket* ticket = nullptr;
    int64_t begin = 0;
    int64_t bytes = 0;
    int transfers = 0;         // being read
    bool arrived = false;      // read, and not yet let go
    int64_t copy_from_ns = 0;  // when the copy was enqueued, for the timeline; 0: none was
  };
  void take_back();
  void read_piece(TransferQueue& queue, int buffer);
  FilePiece next_run(Ticket& ticket, int64_t most) const;
  void finish_transfer(int buffer, std::exception_ptr error);
  void copy_piece(int buffer);
  void compare(Ticket& ticket);
  void let_go(Ticket& ticket, Event& passed);
  void copy_from_memory(Ticket& ticket);
  void note_copy(const Ticket& ticket, int64_t from_ns);  // the notices'
  void give_back(int buffer);                             // any thread
  std::byte* buffer_data(int buffer) const { return memory_.data() + buffer * piece_bytes_; }

  const int64_t piece_bytes_;
  Timeline* const timeline_;
  EventFd& wake_;
  const Done done_;
  Buffer memory_;
  std::vector<Piece> pieces_;  // by buffer
  std::vector<int> free_;
  std::vector<Ticket*> waiting_;  // with pieces left to read, in order
  std::vector<int> back_;         // being taken back
  std::vector<Ticket*> back_tickets_;
  std::mutex mutex_;
  std::vector<int> returned_;    // protected by mutex_
  std::vector<Ticket*> passed_;  // copied from memory; protected by mutex_
  int64_t copied_at_ns_ = 0;     // the last copy's end, of the notices' tasks
  std::unique_ptr<Stream> stream_;
  std::vector<std::unique_ptr<Event>> copied_;  // by buffer
  std::unique_ptr<Stream> notices_;  // of copies that have passed: the next does not wait for them
};

}  // namespace zerostream
