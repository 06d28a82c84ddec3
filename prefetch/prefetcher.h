// Keeps the next segments of weights on their way to the device.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/device.h"
#include "base/timeline.h"
#include "nvme/file.h"
#include "nvme/io_engine.h"
#include "nvme/transfer.h"

namespace zerostream {

// States of a fetch, in order: queued, reading, ready, released; or failed.
enum class FetchState : uint8_t { kQueued, kReading, kReady, kReleased, kFailed };

// The ticket of one fetch. Shared between who asked and the prefetcher.
// Threads: any.
class Fetch {
 public:
  virtual ~Fetch() = default;
  virtual FetchState state() const = 0;
  // Blocks until the bytes are in device memory (or on their way there, ordered by ready_event()).
  // Returns the seconds that the caller was blocked: a stall. Rethrows the error of a failed fetch.
  virtual double wait() = 0;
  // Device memory of the segment, aligned as Device::allocate() does. REQUIRES: wait() returned.
  virtual std::byte* data() const = 0;
  // What a compute stream must wait for before it reads data(); null where wait() suffices (CPU
  // device).
  virtual Event* ready_event() const = 0;
};

using FetchTicket = std::shared_ptr<Fetch>;

// A run of a file, counted from the offset of the fetch that it belongs to.
struct FilePiece {
  int64_t offset = 0;  // multiple of 4 KiB
  int64_t bytes = 0;   // multiple of 4 KiB
};

// What is fetched into one slot: a run of a file, or several. `offset` is 4 KiB aligned; the file
// outlives the prefetcher.
struct FetchRequest {
  const File* file = nullptr;
  int64_t offset = 0;
  int64_t bytes = 0;  // of all pieces together
  // Land one behind the other in the slot; must stay until the fetch is released. Empty: one piece
  // at `offset`.
  std::span<const FilePiece> pieces = {};
  // Only for a device with memory of its own: pinned memory that holds what the file would, from
  // `offset` on, so that nothing is read; it outlives the fetch.
  const std::byte* source = nullptr;
  // Only for such a device: XXH3-64 of all bytes, compared on their way. Of others who waits can
  // compare the slot itself.
  std::optional<uint64_t> digest = {};
  std::string_view name = {};  // in timelines; must stay as the pieces must
};

// One row (of an embedding table) to be read into memory at `target`, which has room for
// row_staging_bytes(bytes). The row's first byte lands at target + offset % 4096.
struct RowRequest {
  const File* file = nullptr;
  int64_t offset = 0;
  int64_t bytes = 0;
  std::byte* target = nullptr;
};

constexpr int64_t row_staging_bytes(int64_t row_bytes) {
  return (row_bytes + 2 * 4096 - 2) / 4096 * 4096;
}

struct PrefetcherOptions {
  IoEngineKind engine = IoEngineKind::kAuto;
  TransferOptions transfer = {};
  int queue_depth = 16;  // requests in flight
  // Device memory for slots; at least the largest segment. Counted in the plan.
  int64_t ring_bytes = 0;
  // Device memory of ring_bytes to use for slots, which outlives the prefetcher; null: allocated.
  std::byte* ring_memory = nullptr;
  // Most segments that hold slots ahead of the one in use; 0: fetched only when waited for.
  int prefetch_depth = 4;
  // Host memory that reads pass through where the device has memory of its own; else unused.
  // Counted in the plan.
  int64_t pinned_bytes = int64_t{64} << 20;
  // Where not null: gets a span on `read_track` for every fetch, from its first request in flight
  // to the end of the last one, and for rows; and one on kCopy for every piece that a copy stream
  // moves. Outlives the prefetcher.
  Timeline* timeline = nullptr;
  Track read_track = Track::kRead;
};

struct PrefetchCounters {
  int64_t bytes_read = 0;
  double reading_seconds = 0;  // time in which at least one request was in flight
  int64_t fetches = 0;
};

// Takes fetches in order; for each: a slot from a ring of device memory, a read into it (on a
// device that does not share host memory: into pinned buffers and on by a copy stream). One thread,
// one boost::asio::io_context; it owns the engine, the transfer queue and the slots.
// What lies in pinned memory goes by the copy stream alone.
//
// Slots are taken and given back in order of submission. A fetch waits for its slot without
// blocking anything else. With depth d, at most d + 1 submitted fetches hold slots (the one in use,
// and d ahead). With depth 0 a fetch, and those before it, start when wait() is called on it. So
// who waits for a fetch while d + 1 before it are not released, by nobody, waits for ever. A ticket
// that is dropped without release() keeps its slot.
// Threads: submit(), read_rows() from one thread; release() from any, also from a stream's host
// task. Errors: never thrown here but by the constructor and read_rows(); the Fetch fails and
// Fetch::wait() rethrows. After a failure all later fetches fail with the same error, also those
// whose bytes came but were not waited for. A wrong digest is a CheckpointError. Destruction:
// cancels what is queued, waits for what is in flight; fetches that nobody waited for fail.
class Prefetcher {
 public:
  Prefetcher(Device& device, PrefetcherOptions options);
  // Uses the given engine (tests: faulty, throttled, null).
  Prefetcher(Device& device, PrefetcherOptions options, std::unique_ptr<IoEngine> engine);
  ~Prefetcher();

  // Queues a fetch. REQUIRES: request.bytes <= ring_bytes. Allocates nothing once as many tickets
  // were out before.
  FetchTicket submit(const FetchRequest& request);
  // The last reader is done: the slot may be reused. Also cancels a fetch that is not ready.
  // Allocates nothing, never blocks on I/O.
  void release(const FetchTicket& ticket);
  // Reads rows, ahead of queued segments, and returns when all are there. Throws the IoError of a
  // row that failed. Returns the seconds that it took.
  double read_rows(std::span<const RowRequest> rows);

  PrefetchCounters counters() const;
  std::string engine_name() const;
  // Why faster ways were not taken ("io_uring: Operation not permitted (seccomp?)", "buffers not
  // registered: ...").
  const std::string& notes() const;

 private:
  struct Impl;
  static std::unique_ptr<Impl> make(Device& device, const PrefetcherOptions& options,
                                    std::unique_ptr<IoEngine> engine, const std::string& skipped);
  std::unique_ptr<Impl> impl_;
};

}  // namespace zerostream
