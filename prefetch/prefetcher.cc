#include "prefetch/prefetcher.h"

#include <fcntl.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "base/require.h"
#include "base/tensor.h"
#include "nvme/event_fd.h"
#include "prefetch/slot_ring.h"
#include "prefetch/staging.h"
#include "prefetch/ticket.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using Clock = std::chrono::steady_clock;
using Descriptor = boost::asio::posix::stream_descriptor;

constexpr int64_t kPageBytes = 4096;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

void add_note(std::string& notes, const std::string& note) {
  if (note.empty()) return;
  if (!notes.empty()) notes += "; ";
  notes += note;
}

// A descriptor of its own for the event loop, which closes it.
int duplicate(int fd) {
  const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (copy < 0)
    throw IoError(std::string("cannot duplicate a descriptor: ") + std::strerror(errno), errno);
  return copy;
}

// The rows of one read_rows(), on its caller's stack.
struct RowBatch {
  std::span<const RowRequest> rows;
  size_t left = 0;
  std::exception_ptr error;
};

}  // namespace

// The caller's threads change what mutex_ protects and signal wake_; the prefetcher's thread looks
// at it in step().
struct Prefetcher::Impl {
  using Tickets = std::list<std::shared_ptr<Ticket>>;  // spliced from one to the other, never grown

  Impl(Device& device, const PrefetcherOptions& options, std::unique_ptr<IoEngine> engine,
       const std::string& skipped);
  ~Impl();

  FetchTicket submit(const FetchRequest& request);
  double read_rows(std::span<const RowRequest> rows);
  PrefetchCounters counters() const;

  // Below: the prefetcher's thread.
  void watch(Descriptor& descriptor);
  void step();
  void reclaim();
  void start_rows();
  void start_fetches();
  void read_into_slot(Ticket& ticket);
  void finish_piece(Ticket& ticket, std::exception_ptr error);
  Ticket* next_fetch();
  void finish_fetch(Ticket& ticket, std::exception_ptr error);
  void finish_row(std::exception_ptr error);
  void engine_failed(std::exception_ptr error);
  void note_work();
  // mutex_ is held.
  void fail_fetches(std::exception_ptr error, const Ticket* first);
  void fail_all(std::exception_ptr error);

  const PrefetcherOptions options_;
  Device& device_;
  std::string notes_;
  Buffer memory_;
  std::byte* const ring_;
  const int64_t ring_bytes_;
  std::unique_ptr<IoEngine> engine_;
  const std::string engine_name_ = engine_->name();
  const std::shared_ptr<EventFd> wake_ = std::make_shared<EventFd>();

  mutable std::mutex mutex_;
  // Protected by mutex_. A ticket is queued, then held (it has a slot), then retired (to be used
  // again once nobody else holds it).
  Tickets queued_;
  Tickets held_;
  Tickets retired_;
  std::exception_ptr failure_;
  RowBatch* rows_ = nullptr;
  bool rows_started_ = false;
  std::condition_variable rows_done_;
  bool stopping_ = false;
  PrefetchCounters counters_;
  std::optional<Clock::time_point> working_since_;

  // The thread's own.
  std::optional<Staging> staging_;      // on a device with memory of its own
  std::optional<TransferQueue> queue_;  // gone after the engine's own failure, as is engine_
  SlotRing slots_;
  boost::asio::io_context loop_;
  Descriptor wake_events_{loop_, duplicate(wake_->fd())};
  Descriptor engine_events_{loop_, duplicate(engine_->event_fd())};
  std::thread thread_;
};

Prefetcher::Impl::Impl(Device& device, const PrefetcherOptions& options,
                       std::unique_ptr<IoEngine> engine, const std::string& skipped)
    : options_(options),
      device_(device),
      notes_(skipped),
      memory_(options.ring_memory == nullptr
                  ? device.allocate(round_up(options.ring_bytes, kPageBytes))
                  : Buffer()),
      ring_(options.ring_memory == nullptr ? memory_.data() : options.ring_memory),
      ring_bytes_(options.ring_memory == nullptr ? memory_.size() : options.ring_bytes),
      engine_(std::move(engine)),
      queue_(std::in_place, *engine_, options.transfer),
      slots_(ring_bytes_, options.prefetch_depth + 1) {
  if (!device.shares_host_memory())
    staging_.emplace(
        device, *wake_,
        StagingOptions{.pinned_bytes = options.pinned_bytes,
                       .piece_bytes = options.transfer.block_size,
                       .timeline = options.timeline},
        [this](Ticket& ticket, std::exception_ptr error) { finish_fetch(ticket, error); });
  const std::string refused = staging_
                                  ? engine_->register_buffer(staging_->memory(), staging_->bytes())
                                  : engine_->register_buffer(ring_, ring_bytes_);
  if (!refused.empty()) add_note(notes_, "buffers not registered: " + refused);
  watch(wake_events_);
  watch(engine_events_);
  thread_ = std::thread([this] { loop_.run(); });
}

Prefetcher::Impl::~Impl() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_->signal();
  thread_.join();
  queue_.reset();
  staging_.reset();
  std::lock_guard lock(mutex_);
  fail_all(
      std::make_exception_ptr(InternalError("the fetch was cancelled: its prefetcher is gone")));
}

FetchTicket Prefetcher::Impl::submit(const FetchRequest& request) {
  require(request.bytes <= ring_bytes_, "a segment is no larger than the ring");
  require(staging_ || (request.source == nullptr && !request.digest),
          "host memory is copied, and bytes are compared, on their way to other memory");
  require(request.offset % kPageBytes == 0, "a segment begins at a page");
  std::shared_ptr<Ticket> ticket;
  {
    std::lock_guard lock(mutex_);
    auto free = std::find_if(retired_.begin(), retired_.end(),
                             [](const auto& candidate) { return candidate.use_count() == 1; });
    if (free == retired_.end())
      free = retired_.insert(
          free, std::make_shared<Ticket>(wake_, staging_ ? device_.make_event() : nullptr));
    ticket = *free;
    ticket->begin(request);
    if (failure_ != nullptr)
      ticket->fail(failure_);
    else
      queued_.splice(queued_.end(), retired_, free);
  }
  wake_->signal();
  return ticket;
}

double Prefetcher::Impl::read_rows(std::span<const RowRequest> rows) {
  for (const RowRequest& row : rows)
    require(reinterpret_cast<uintptr_t>(row.target) % kPageBytes == 0, "rows land on pages");
  const auto begin = Clock::now();
  RowBatch batch{.rows = rows, .left = rows.size(), .error = nullptr};
  std::unique_lock lock(mutex_);
  rows_ = &batch;
  rows_started_ = false;
  wake_->signal();
  rows_done_.wait(lock, [&] { return batch.left == 0; });
  rows_ = nullptr;
  if (batch.error != nullptr) std::rethrow_exception(batch.error);
  const double seconds = seconds_since(begin);
  if (options_.timeline != nullptr) {
    const int64_t now = timeline_now_ns();
    options_.timeline->add(options_.read_track, "rows", now - static_cast<int64_t>(1e9 * seconds),
                           now);
  }
  return seconds;
}

PrefetchCounters Prefetcher::Impl::counters() const {
  std::lock_guard lock(mutex_);
  PrefetchCounters now = counters_;
  if (working_since_) now.reading_seconds += seconds_since(*working_since_);
  return now;
}

void Prefetcher::Impl::watch(Descriptor& descriptor) {
  descriptor.async_wait(Descriptor::wait_read, [this, &descriptor](boost::system::error_code) {
    step();
    watch(descriptor);
  });
}

void Prefetcher::Impl::step() {
  wake_->drain();
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return loop_.stop();
  }
  try {
    if (queue_) queue_->pump(false);
    if (queue_ && staging_) staging_->fill(*queue_);
    reclaim();
    start_rows();
    start_fetches();
  } catch (...) {
    engine_failed(std::current_exception());
  }
  note_work();
}

void Prefetcher::Impl::reclaim() {
  std::lock_guard lock(mutex_);
  while (!held_.empty() && held_.front()->released() && !held_.front()->reading) {
    slots_.give_back_oldest();
    retired_.splice(retired_.end(), held_, held_.begin());
  }
}

void Prefetcher::Impl::start_rows() {
  std::span<const RowRequest> rows;
  {
    std::lock_guard lock(mutex_);
    if (rows_ == nullptr || rows_started_) return;
    rows_started_ = true;
    if (!queue_) {
      rows_->error = failure_;
      rows_->left = 0;
      rows_done_.notify_all();
      return;
    }
    rows = rows_->rows;
  }
  for (const RowRequest& row : rows)
    queue_->submit({.file = row.file,
                    .offset = row.offset / kPageBytes * kPageBytes,
                    .data = row.target,
                    .bytes = row.offset % kPageBytes + row.bytes,
                    .done = [this](std::exception_ptr error) { finish_row(std::move(error)); }},
                   true);
}

void Prefetcher::Impl::start_fetches() {
  while (Ticket* ticket = next_fetch()) {
    if (staging_) {
      staging_->add(*ticket);
      staging_->fill(*queue_);
      continue;
    }
    read_into_slot(*ticket);
  }
}

void Prefetcher::Impl::read_into_slot(Ticket& ticket) {
  const FetchRequest& request = ticket.request;
  const FilePiece whole{0, request.bytes};
  const std::span<const FilePiece> pieces =
      request.pieces.empty() ? std::span(&whole, 1) : request.pieces;
  ticket.pieces_left = std::ssize(pieces);
  ticket.piece_error = nullptr;
  std::byte* target = ticket.slot();
  for (const FilePiece& piece : pieces) {
    queue_->submit(
        {.file = request.file,
         .offset = request.offset + piece.offset,
         .data = target,
         .bytes = piece.bytes,
         .done = [this, &ticket](std::exception_ptr error) { finish_piece(ticket, error); },
         .begun = note_begin(ticket, options_.timeline)});
    target += piece.bytes;
  }
}

void Prefetcher::Impl::finish_piece(Ticket& ticket, std::exception_ptr error) {
  if (ticket.piece_error == nullptr) ticket.piece_error = std::move(error);
  if (--ticket.pieces_left > 0) return;
  ticket.reading = false;
  finish_fetch(ticket, ticket.piece_error);
}

// The next queued ticket, now with a slot; null if none may start.
Ticket* Prefetcher::Impl::next_fetch() {
  std::lock_guard lock(mutex_);
  while (!queued_.empty() && queued_.front()->released())
    retired_.splice(retired_.end(), queued_, queued_.begin());
  if (queued_.empty() || failure_ != nullptr) return nullptr;
  const auto wanted = [](const auto& ticket) { return ticket->wanted(); };
  if (options_.prefetch_depth == 0 && std::none_of(queued_.begin(), queued_.end(), wanted))
    return nullptr;
  Ticket& ticket = *queued_.front();
  const std::optional<int64_t> offset = slots_.take(ticket.request.bytes);
  if (!offset) return nullptr;
  ticket.start(ring_ + *offset);
  held_.splice(held_.end(), queued_, queued_.begin());
  ++counters_.fetches;
  return &ticket;
}

void Prefetcher::Impl::finish_fetch(Ticket& ticket, std::exception_ptr error) {
  const bool was_read = ticket.request.source == nullptr;
  if (options_.timeline != nullptr && error == nullptr && was_read)
    options_.timeline->add(options_.read_track, ticket.request.name, ticket.read_begin_ns,
                           timeline_now_ns());
  std::lock_guard lock(mutex_);
  counters_.bytes_read = queue_->bytes_done();
  if (error == nullptr) return ticket.succeed();
  fail_fetches(error, &ticket);
}

void Prefetcher::Impl::finish_row(std::exception_ptr error) {
  std::lock_guard lock(mutex_);
  if (rows_->error == nullptr) rows_->error = std::move(error);
  if (--rows_->left == 0) rows_done_.notify_all();
}

// Fails all fetches from `first` on, or all; the latest first, so that who sees one fail finds all
// later ones failed.
void Prefetcher::Impl::fail_fetches(std::exception_ptr error, const Ticket* first) {
  if (failure_ == nullptr) failure_ = error;
  for (Tickets* tickets : {&queued_, &held_})
    for (auto ticket = tickets->rbegin(); ticket != tickets->rend(); ++ticket) {
      (*ticket)->fail(error);
      if (ticket->get() == first) return;
    }
}

// The engine is of no use any more, and nothing is in flight once it is gone.
void Prefetcher::Impl::engine_failed(std::exception_ptr error) {
  queue_.reset();
  engine_.reset();
  std::lock_guard lock(mutex_);
  fail_all(error);
}

void Prefetcher::Impl::fail_all(std::exception_ptr error) {
  fail_fetches(error, nullptr);
  if (rows_ == nullptr || rows_->left == 0) return;
  rows_->error = error;
  rows_->left = 0;
  rows_done_.notify_all();
}

void Prefetcher::Impl::note_work() {
  std::lock_guard lock(mutex_);
  if (queue_) counters_.bytes_read = queue_->bytes_done();
  const bool works = queue_ && !queue_->idle();
  if (works && !working_since_) working_since_ = Clock::now();
  if (works || !working_since_) return;
  counters_.reading_seconds += seconds_since(*working_since_);
  working_since_.reset();
}

std::unique_ptr<Prefetcher::Impl> Prefetcher::make(Device& device, const PrefetcherOptions& options,
                                                   std::unique_ptr<IoEngine> engine,
                                                   const std::string& skipped) {
  try {
    return std::make_unique<Impl>(device, options, std::move(engine), skipped);
  } catch (const boost::system::system_error& error) {  // no descriptors for the event loop
    throw IoError(error.what(), error.code().value());
  }
}

Prefetcher::Prefetcher(Device& device, PrefetcherOptions options) {
  std::string skipped;
  std::unique_ptr<IoEngine> engine = make_io_engine(options.engine, options.queue_depth, &skipped);
  impl_ = make(device, options, std::move(engine), skipped);
}

Prefetcher::Prefetcher(Device& device, PrefetcherOptions options, std::unique_ptr<IoEngine> engine)
    : impl_(make(device, options, std::move(engine), "")) {}

Prefetcher::~Prefetcher() = default;

FetchTicket Prefetcher::submit(const FetchRequest& request) { return impl_->submit(request); }

void Prefetcher::release(const FetchTicket& ticket) {
  static_cast<Ticket&>(*ticket).release();
  impl_->wake_->signal();
}

double Prefetcher::read_rows(std::span<const RowRequest> rows) { return impl_->read_rows(rows); }

PrefetchCounters Prefetcher::counters() const { return impl_->counters(); }

std::string Prefetcher::engine_name() const { return impl_->engine_name_; }

const std::string& Prefetcher::notes() const { return impl_->notes_; }

}  // namespace zerostream
