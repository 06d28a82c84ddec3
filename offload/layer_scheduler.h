// Runs passes: weights come and go as the schedule says, kernels follow.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/device.h"
#include "base/kernels.h"
#include "base/timeline.h"
#include "model/activations.h"
#include "model/forward.h"
#include "offload/device_arrays.h"
#include "offload/embedding_reader.h"
#include "offload/kv_store.h"
#include "offload/pass_batch.h"
#include "offload/resident_weights.h"
#include "offload/schedule.h"
#include "offload/stream_notices.h"
#include "prefetch/prefetcher.h"

namespace zerostream {

// What a LayerScheduler works with; everything outlives it. `prefetcher` is null when all segments
// are resident.
struct LayerSchedulerParts {
  const PackedStore* store = nullptr;
  const File* weights = nullptr;
  const ResidentWeights* resident = nullptr;
  KvStore* kv = nullptr;
  Prefetcher* prefetcher = nullptr;
  Device* device = nullptr;
  Kernels* kernels = nullptr;
  bool int8_activations = false;  // of products with quantised weights
  int64_t array_bytes = 0;        // of DeviceArrays, for a device with memory of its own
  Timeline* timeline = nullptr;   // gets passes, the compute stream's steps and waits; may be null
};

// Executes the steps of a Schedule on a device. The calling thread enqueues kernels and waits only
// for fetches; the compute stream runs behind it. A slot is released by a host task that follows
// the stream, after its last reader. What kernels read of the pass goes to a device with memory of
// its own at the begin (tables of fetched keys and values: before their attention), results come
// back at the end.
//
// Threads: one. Errors: run() throws the error of a fetch, a digest or the device; the scheduler is
// unusable afterwards.
class LayerScheduler {
 public:
  // `options`: without micro-batches, which follow from each pass.
  LayerScheduler(const LayerSchedulerParts& parts, const ScheduleOptions& options,
                 int64_t max_tokens, int64_t max_logit_rows);
  ~LayerScheduler();  // waits for the stream

  // Computes one pass, draws a token for each of batch.logit_rows, rows[i] into results[i], and
  // scores batch.scored_rows. Returns when done.
  void run(const PassBatch& batch, const SampleRow* rows, SampleResult* results);

  // Raw logits of the last pass in device memory, a row for each of its logit_rows. Valid until the
  // next run().
  TensorView logits() const { return activations_.logits; }

  // Of the last pass, one for each of its scored_rows. Valid until the next run().
  std::span<const SoftmaxState> scores() const { return scores_; }

  // Seconds in which the compute stream had nothing to do because weights were not there yet.
  double stall_seconds() const {
    return stall_seconds_ + 1e-9 * static_cast<double>(copy_stall_ns_);
  }
  // The same for keys and values that were elsewhere.
  double kv_stall_seconds() const {
    return kv_stall_seconds_ + 1e-9 * static_cast<double>(kv_copy_stall_ns_);
  }
  double flops() const { return forward_.flops(); }

 private:
  void run_steps(const PassBatch& batch, const SampleRow* rows, SampleResult* results);
  void put_arrays(const PassBatch& batch, std::span<const SampleRow> rows,
                  std::span<SampleResult> results);
  const SampleRow* put_rows(std::span<const SampleRow> rows);
  int64_t array_bytes(const PassBatch& batch, std::span<const SampleRow> rows) const;
  void fetch(const Step& step);
  void drain() noexcept;
  // Runs the task once all that is enqueued is done.
  void after_stream(HostTask task);
  void embed(const PassBatch& batch);
  void fill_rope_tables(const PassBatch& batch);
  void apply(const Step& step);
  void attend(const Step& step);
  void set_micro_batches(int32_t micro_batches);
  double idle_part(double blocked_seconds) const;
  const std::byte* wait_for(int32_t segment);
  void release();
  void wait_for_kv(const Step& step);
  template <typename Wait>
  void wait_on_stream(std::string_view what, std::atomic<int64_t>& stall_ns, const Wait& wait);
  double note_wait(std::string_view what, double idle_seconds);
  void note_when_finished(std::string_view what, int32_t layer = kNoLayer);
  void note_pass(const PassBatch& batch, int64_t begin_ns);

  LayerSchedulerParts parts_;
  const bool own_memory_;  // the device's
  ScheduleOptions options_;
  Schedule schedule_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<Event> done_;
  Activations activations_;
  Forward forward_;
  EmbeddingReader token_rows_, position_rows_;
  std::vector<RowRequest> row_requests_;
  std::vector<float> rope_cos_, rope_sin_;
  std::vector<SoftmaxState> scores_;
  DeviceArrays arrays_;
  std::vector<SampleRow> placed_rows_;
  // Of the pass, as kernels read and write them.
  std::span<const SequenceSpan> sequences_;
  SampleArgs sample_;
  SoftmaxState* states_ = nullptr;
  std::vector<FetchTicket> tickets_;  // fetches in order of submission, a ring
  size_t next_submitted_ = 0, next_used_ = 0;
  const std::byte* current_ = nullptr;  // of the segment in use
  int32_t current_segment_ = -1;
  std::vector<bool> digest_checked_;
  int64_t enqueued_ = 0;              // kernels' steps so far
  std::atomic<int64_t> finished_{0};  // of them, done by the stream
  std::atomic<int64_t> finished_at_ns_{0};
  std::atomic<int64_t> waits_since_ns_{0};  // of the stream, for a copy
  std::atomic<int64_t> copy_stall_ns_{0}, kv_copy_stall_ns_{0};
  int64_t passes_ = 0;
  bool started_ = false;
  KvStore::Unit kv_unit_;  // being attended
  double stall_seconds_ = 0;
  double kv_stall_seconds_ = 0;
  std::optional<StreamNotices> notices_;  // where host tasks would hold up the stream
};

}  // namespace zerostream
