#include "prefetch/staging.h"

#include <algorithm>
#include <utility>

#include "base/require.h"
#include "base/tensor.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int64_t kPageBytes = 4096;
constexpr size_t kMostTickets = 128;  // more only cost an allocation

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
      stream_(device.make_copy_stream()),
      notices_(device.make_copy_stream()) {
  for (size_t i = pieces_.size(); i-- > 0;) free_.push_back(static_cast<int>(i));
  for (size_t i = 0; i < pieces_.size(); ++i) copied_.push_back(device.make_event());
  back_.reserve(pieces_.size());
  returned_.reserve(pieces_.size());
  back_tickets_.reserve(kMostTickets);
  passed_.reserve(kMostTickets);
}

Staging::~Staging() {
  for (Stream* stream : {stream_.get(), notices_.get()}) {
    try {
      stream->synchronize();
    } catch (const Error&) {  // reported by the ready events
    }
  }
}

void Staging::add(Ticket& ticket) {
  ticket.staged = {};
  if (ticket.request.source != nullptr) return copy_from_memory(ticket);
  waiting_.push_back(&ticket);
}

void Staging::copy_from_memory(Ticket& ticket) {
  const int64_t from_ns = timeline_ != nullptr ? timeline_now_ns() : 0;
  for (int64_t copied = 0; copied < ticket.request.bytes;) {
    const FilePiece run = next_run(ticket, ticket.request.bytes);
    stream_->copy(ticket.slot() + copied, ticket.request.source + run.offset, run.bytes);
    copied += run.bytes;
  }
  stream_->record(*ticket.ready_event());
  notices_->wait(*ticket.ready_event());
  notices_->run_on_host([this, &ticket, from_ns] {
    note_copy(ticket, from_ns);
    {
      std::lock_guard lock(mutex_);
      passed_.push_back(&ticket);
    }
    wake_.signal();
  });
  done_(ticket, nullptr);
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
  back_tickets_.clear();
  {
    std::lock_guard lock(mutex_);
    std::swap(back_, returned_);
    std::swap(back_tickets_, passed_);
  }
  for (Ticket* ticket : back_tickets_) ticket->reading = false;
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
  Piece& piece = pieces_[static_cast<size_t>(buffer)];
  piece = {.ticket = &ticket,
           .begin = part.next,
           .bytes = std::min(piece_bytes_, ticket.request.bytes - part.next)};
  part.next += piece.bytes;
  part.more = part.next < ticket.request.bytes;
  ++part.buffers;
  ++part.reads;
  if (!part.more) waiting_.erase(waiting_.begin());
  int64_t filled = 0;
  do {  // a fetch of nothing is a read, too
    const FilePiece run = next_run(ticket, piece.bytes - filled);
    ++piece.transfers;
    queue.submit(
        {.file = ticket.request.file,
         .offset = ticket.request.offset + run.offset,
         .data = buffer_data(buffer) + filled,
         .bytes = run.bytes,
         .done = [this, buffer](std::exception_ptr error) { finish_transfer(buffer, error); },
         .begun = note_begin(ticket, timeline_)});
    filled += run.bytes;
  } while (filled < piece.bytes);
}

// What of the file comes next, at most so many bytes.
FilePiece Staging::next_run(Ticket& ticket, int64_t most) const {
  StagedPart& part = ticket.staged;
  const FilePiece whole{0, ticket.request.bytes};
  const FilePiece& run = ticket.request.pieces.empty() ? whole : ticket.request.pieces[part.run];
  const FilePiece next{run.offset + part.run_read, std::min(most, run.bytes - part.run_read)};
  part.run_read += next.bytes;
  if (part.run_read < run.bytes) return next;
  ++part.run;
  part.run_read = 0;
  return next;
}

void Staging::finish_transfer(int buffer, std::exception_ptr error) {
  Piece& piece = pieces_[static_cast<size_t>(buffer)];
  StagedPart& part = piece.ticket->staged;
  if (error != nullptr && part.error == nullptr) {
    part.error = error;
    if (part.more) std::erase(waiting_, piece.ticket);
    part.more = false;
  }
  if (--piece.transfers == 0) copy_piece(buffer);
}

void Staging::copy_piece(int buffer) {
  Piece& piece = pieces_[static_cast<size_t>(buffer)];
  Ticket& ticket = *piece.ticket;
  StagedPart& part = ticket.staged;
  --part.reads;
  piece.arrived = true;
  if (part.error == nullptr) {
    if (timeline_ != nullptr) piece.copy_from_ns = timeline_now_ns();
    stream_->copy(ticket.slot() + piece.begin, buffer_data(buffer), piece.bytes);
    compare(ticket);
  }
  const bool last = part.reads == 0 && !part.more;
  // So that the ready event has passed when the ticket is used again.
  Event* passed = last && part.error == nullptr ? ticket.ready_event() : copied_[buffer].get();
  stream_->record(*passed);
  let_go(ticket, *passed);
  if (last) done_(ticket, part.error);
}

// Takes what has come in order into the digest.
void Staging::compare(Ticket& ticket) {
  StagedPart& part = ticket.staged;
  const FetchRequest& request = ticket.request;
  if (!request.digest) return;
  if (!part.digest) part.digest.emplace();
  const auto is_next = [&](const Piece& piece) {
    return piece.arrived && piece.ticket == &ticket && piece.begin == part.digested;
  };
  for (auto piece = pieces_.begin();
       (piece = std::find_if(pieces_.begin(), pieces_.end(), is_next)) != pieces_.end();) {
    part.digest->update(buffer_data(static_cast<int>(piece - pieces_.begin())),
                        static_cast<size_t>(piece->bytes));
    part.digested += piece->bytes;
  }
  if (part.digested < request.bytes || part.digest->value() == *request.digest) return;
  part.error = std::make_exception_ptr(CheckpointError(
      request.file->path() + ": segment \"" + std::string(request.name) + "\" (" +
      std::to_string(request.bytes) + " bytes at " + std::to_string(request.offset) +
      ") is damaged: its digest is not that of the manifest"));
}

// Gives back the buffers of pieces that nobody needs but their copies, all before `passed`.
void Staging::let_go(Ticket& ticket, Event& passed) {
  const StagedPart& part = ticket.staged;
  const bool all = !ticket.request.digest || part.error != nullptr;
  for (int buffer = 0; buffer < static_cast<int>(pieces_.size()); ++buffer) {
    Piece& piece = pieces_[static_cast<size_t>(buffer)];
    if (!piece.arrived || piece.ticket != &ticket || !(all || piece.begin < part.digested))
      continue;
    piece.arrived = false;
    notices_->wait(passed);
    notices_->run_on_host([this, buffer, &ticket, from_ns = piece.copy_from_ns] {
      note_copy(ticket, from_ns);
      give_back(buffer);
    });
  }
}

// A copy begins when it is enqueued or when the one before it ends.
void Staging::note_copy(const Ticket& ticket, int64_t from_ns) {
  if (timeline_ == nullptr || from_ns == 0) return;
  const int64_t begin_ns = std::max(from_ns, copied_at_ns_);
  copied_at_ns_ = timeline_now_ns();
  timeline_->add(Track::kCopy, ticket.request.name, begin_ns, copied_at_ns_);
}

void Staging::give_back(int buffer) {
  {
    std::lock_guard lock(mutex_);
    returned_.push_back(buffer);
  }
  wake_.signal();
}

}  // namespace zerostream
