#include "prefetch/staging.h"

#include <algorithm>
#include <utility>

#include "base/require.h"
#include "base/tensor.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int64_t kPageBytes = 4096;

int64_t piece_size(const StagingOptions& options) {
  const int64_t piece = std::min(round_up(options.piece_bytes, kPageBytes),
                                 options.pinned_bytes / kPageBytes * kPageBytes);
  require(piece > 0, "staging has room for a page");
  return piece;
}

}  // namespace

Staging::Staging(Device& device, EventFd& wake, StagingOptions options, Done done)
    : piece_bytes_(piece_size(options)),
      timeline_(options.timeline),
      wake_(wake),
      done_(std::move(done)),
      memory_(device.allocate_pinned(options.pinned_bytes / piece_bytes_ * piece_bytes_)),
      pieces_(static_cast<size_t>(memory_.size() / piece_bytes_)),
      stream_(device.make_copy_stream()) {
  for (size_t i = pieces_.size(); i-- > 0;) free_.push_back(static_cast<int>(i));
  back_.reserve(pieces_.size());
  returned_.reserve(pieces_.size());
}

Staging::~Staging() {
  try {
    stream_->synchronize();
  } catch (const Error&) {  // reported by the ready events
  }
}

void Staging::add(Ticket& ticket) {
  ticket.staged = {};
  waiting_.push_back(&ticket);
}

void Staging::fill(TransferQueue& queue) {
  take_back();
  while (!free_.empty() && !waiting_.empty()) {
    const int buffer = free_.back();
    free_.pop_back();
    read_piece(queue, buffer);
  }
}

void Staging::take_back() {
  back_.clear();
  {
    std::lock_guard lock(mutex_);
    std::swap(back_, returned_);
  }
  for (int buffer : back_) {
    Ticket& ticket = *pieces_[static_cast<size_t>(buffer)].ticket;
    --ticket.staged.buffers;
    ticket.reading = ticket.staged.more || ticket.staged.buffers > 0;
    free_.push_back(buffer);
  }
}

void Staging::read_piece(TransferQueue& queue, int buffer) {
  Ticket& ticket = *waiting_.front();
  StagedPart& part = ticket.staged;
  const int64_t bytes = std::min(piece_bytes_, ticket.request.bytes - part.next);
  pieces_[static_cast<size_t>(buffer)] = {&ticket, part.next, bytes, 0};
  part.next += bytes;
  part.more = part.next < ticket.request.bytes;
  ++part.buffers;
  ++part.reads;
  if (!part.more) waiting_.erase(waiting_.begin());
  queue.submit({.file = ticket.request.file,
                .offset = ticket.request.offset + part.next - bytes,
                .data = buffer_data(buffer),
                .bytes = bytes,
                .done = [this, buffer](std::exception_ptr error) { copy_piece(buffer, error); },
                .begun = note_begin(ticket, timeline_)});
}

void Staging::copy_piece(int buffer, std::exception_ptr error) {
  Piece& piece = pieces_[static_cast<size_t>(buffer)];
  Ticket& ticket = *piece.ticket;
  StagedPart& part = ticket.staged;
  --part.reads;
  if (error != nullptr && part.error == nullptr) {
    part.error = error;
    if (part.more) std::erase(waiting_, &ticket);
    part.more = false;
  }
  if (part.error == nullptr) {
    if (timeline_ != nullptr) piece.copy_from_ns = timeline_now_ns();
    stream_->copy(ticket.slot() + piece.begin, buffer_data(buffer), piece.bytes);
  }
  const bool last = part.reads == 0 && !part.more;
  if (last && part.error == nullptr) stream_->record(*ticket.ready_event());
  // After the record, so that the event has passed when the ticket is used again.
  stream_->run_on_host([this, buffer] {
    if (timeline_ != nullptr) note_copy(buffer);
    give_back(buffer);
  });
  if (last) done_(ticket, part.error);
}

// A copy begins when it is enqueued or when the one before it ends.
void Staging::note_copy(int buffer) {
  const Piece& piece = pieces_[static_cast<size_t>(buffer)];
  if (piece.copy_from_ns == 0) return;
  const int64_t begin_ns = std::max(piece.copy_from_ns, copied_at_ns_);
  copied_at_ns_ = timeline_now_ns();
  timeline_->add(Track::kCopy, piece.ticket->request.name, begin_ns, copied_at_ns_);
}

void Staging::give_back(int buffer) {
  {
    std::lock_guard lock(mutex_);
    returned_.push_back(buffer);
  }
  wake_.signal();
}

}  // namespace zerostream
