#include "offload/layer_scheduler.h"

#include <algorithm>
#include <cstdio>

#include "base/require.h"
#include "model/rope.h"

namespace zerostream {
namespace {

// "mlp_up 12": a step of the compute stream.
void add_step(Timeline& timeline, std::string_view what, int32_t layer, TimelineSpan when) {
  char name[sizeof when.name];
  std::string_view shown = what;
  if (layer != kNoLayer) {
    const int size = std::snprintf(name, sizeof name, "%.*s %d", static_cast<int>(what.size()),
                                   what.data(), layer);
    shown = std::string_view(name, std::min<size_t>(size, sizeof name - 1));
  }
  timeline.add(Track::kCompute, shown, when.begin_ns, when.end_ns);
}

}  // namespace

LayerScheduler::LayerScheduler(const LayerSchedulerParts& parts, const ScheduleOptions& options,
                               int64_t max_tokens, int64_t max_logit_rows)
    : parts_(parts),
      options_(options),
      schedule_(make_schedule(parts.store->segments(), options)),
      stream_(parts.device->make_compute_stream()),
      done_(parts.device->make_event()),
      activations_(parts.store->config(), parts.store->layout().compute_dtype, max_tokens,
                   max_logit_rows, *parts.device),
      forward_(parts.store->config(), parts.resident->vectors(), activations_, *parts.kernels,
               *stream_),
      token_rows_(MatrixRole::kTokenEmbedding, *parts.store, *parts.resident, *parts.weights,
                  parts.prefetcher, max_tokens, *parts.device),
      position_rows_(MatrixRole::kPositionEmbedding, *parts.store, *parts.resident, *parts.weights,
                     parts.prefetcher, max_tokens, *parts.device),
      tickets_(schedule_.prologue.size() + 1),
      digest_checked_(parts.store->segments().size(), false) {
  const size_t rope_elements = max_tokens * parts.store->config().rope.inverse_frequencies.size();
  rope_cos_.resize(rope_elements);
  rope_sin_.resize(rope_elements);
  row_requests_.reserve(2 * max_tokens);
  scores_.reserve(max_tokens);
}

LayerScheduler::~LayerScheduler() { drain(); }

void LayerScheduler::run(const PassBatch& batch, const SampleRow* rows, SampleResult* results) {
  try {
    run_steps(batch, rows, results);
  } catch (...) {
    drain();  // what is enqueued still reads the batch
    throw;
  }
}

void LayerScheduler::drain() noexcept {
  try {
    stream_->synchronize();
  } catch (...) {  // the error that matters is on its way, or was thrown already
  }
}

void LayerScheduler::run_steps(const PassBatch& batch, const SampleRow* rows,
                               SampleResult* results) {
  const int64_t begin_ns = timeline_now_ns();
  kv_stall_seconds_ += note_wait("KV memory", parts_.kv->begin_pass(batch.sequences));
  set_micro_batches(parts_.kv->micro_batches());
  const auto fetch = [this](const Step& step) {
    const Segment& segment = parts_.store->segments()[step.segment];
    tickets_[next_submitted_++ % tickets_.size()] =
        parts_.prefetcher->submit({.file = parts_.weights,
                                   .offset = segment.offset,
                                   .bytes = segment.bytes,
                                   .name = segment.name});
  };
  if (!started_) std::for_each(schedule_.prologue.begin(), schedule_.prologue.end(), fetch);
  started_ = true;

  fill_rope_tables(batch);
  scores_.assign(batch.scored_rows.size(), SoftmaxState());
  forward_.begin({static_cast<int64_t>(batch.tokens.size()),
                  rope_cos_.data(),
                  rope_sin_.data(),
                  batch.logit_rows.data(),
                  static_cast<int64_t>(batch.logit_rows.size()),
                  {batch.scored_rows.data(), batch.score_targets.data(), scores_.data(),
                   static_cast<int64_t>(scores_.size())},
                  parts_.int8_activations});
  for (const Step& step : schedule_.pass) {
    switch (step.kind) {
      case StepKind::kFetch:
        fetch(step);
        break;
      case StepKind::kEmbed:
        embed(batch);
        break;
      case StepKind::kApply:
        apply(step);
        break;
      case StepKind::kWriteKv:
        forward_.write_kv(step.layer, parts_.kv->layer(step.layer), parts_.kv->sequences());
        break;
      case StepKind::kFetchKv:
        parts_.kv->fetch(step.layer, step.micro_batch);
        break;
      case StepKind::kAttend:
        attend(step);
        break;
      case StepKind::kReleaseKv:
        stream_->run_on_host(
            [kv = parts_.kv, ticket = std::move(kv_unit_.ticket)] { kv->release(ticket); });
        break;
      case StepKind::kRelease:
        release();
        break;
    }
  }
  const auto logit_rows = static_cast<int64_t>(batch.logit_rows.size());
  if (logit_rows > 0) {
    parts_.kernels->sample({activations_.logits.row_range(0, logit_rows), rows, results}, *stream_);
    note_when_finished("sample");
  }
  stream_->record(*done_);
  done_->wait();
  parts_.kv->end_pass();
  note_pass(batch, begin_ns);
}

void LayerScheduler::set_micro_batches(int32_t micro_batches) {
  if (micro_batches == options_.kv_micro_batches) return;
  options_.kv_micro_batches = micro_batches;
  schedule_ = make_schedule(parts_.store->segments(), options_);
}

void LayerScheduler::fill_rope_tables(const PassBatch& batch) {
  const RopeConfig& rope = parts_.store->config().rope;
  const size_t cols = rope.inverse_frequencies.size();
  for (size_t i = 0; cols > 0 && i < batch.positions.size(); ++i)
    fill_rope(rope, batch.positions[i], &rope_cos_[i * cols], &rope_sin_[i * cols]);
}

void LayerScheduler::embed(const PassBatch& batch) {
  row_requests_.clear();
  const EmbeddingRows tokens = token_rows_.locate(batch.tokens, 0, row_requests_);
  EmbeddingRows positions;
  if (position_rows_.exists())
    positions = position_rows_.locate(batch.positions, parts_.store->config().position_offset,
                                      row_requests_);
  if (!row_requests_.empty())
    stall_seconds_ += note_wait("rows", parts_.prefetcher->read_rows(row_requests_));
  forward_.embed(tokens, positions);
  note_when_finished("embed");
}

void LayerScheduler::apply(const Step& step) {
  const Segment& segment = parts_.store->segments()[step.segment];
  if (step.segment != current_segment_) {
    const std::byte* resident = parts_.resident->segment(step.segment);
    current_ = resident != nullptr ? resident : wait_for(step.segment);
    current_segment_ = step.segment;
  }
  const StoredMatrix& matrix = segment.matrices[step.matrix];
  forward_.apply(
      {matrix.role, matrix.layer, matrix.weight(current_), matrix.output_begin, matrix.outputs});
  note_when_finished(matrix_role_name(matrix.role), matrix.layer);
}

const std::byte* LayerScheduler::wait_for(int32_t index) {
  Fetch& fetch = *tickets_[next_used_ % tickets_.size()];
  stall_seconds_ += note_wait(parts_.store->segments()[index].name, idle_part(fetch.wait()));
  if (fetch.ready_event() != nullptr) stream_->wait(*fetch.ready_event());
  if (!digest_checked_[index]) {
    check_digest(parts_.store->segments()[index], fetch.data(), parts_.weights->path());
    digest_checked_[index] = true;
  }
  return fetch.data();
}

// What of the time for which this thread was blocked the stream had nothing to do.
double LayerScheduler::idle_part(double blocked_seconds) const {
  if (finished_ != enqueued_) return 0;
  return std::min(blocked_seconds, 1e-9 * static_cast<double>(timeline_now_ns() - finished_at_ns_));
}

void LayerScheduler::attend(const Step& step) {
  const KvLayerView& view = parts_.kv->layer(step.layer);
  if (options_.kv_micro_batches == 0) {
    forward_.attend(step.layer, view, parts_.kv->sequences());
  } else {
    kv_stall_seconds_ +=
        note_wait("KV", idle_part(parts_.kv->wait(step.layer, step.micro_batch, kv_unit_)));
    if (Event* ready = kv_unit_.ticket->ready_event()) stream_->wait(*ready);
    forward_.attend(step.layer, view, kv_unit_.sequences);
  }
  note_when_finished("attention", step.layer);
}

void LayerScheduler::release() {
  stream_->run_on_host([prefetcher = parts_.prefetcher,
                        ticket = std::move(tickets_[next_used_++ % tickets_.size()])] {
    prefetcher->release(ticket);
  });
  current_segment_ = -1;
}

// The stream had nothing to do for so long until now.
double LayerScheduler::note_wait(std::string_view what, double idle_seconds) {
  if (parts_.timeline != nullptr && idle_seconds > 0) {
    const int64_t now = timeline_now_ns();
    parts_.timeline->add(Track::kWait, what, now - static_cast<int64_t>(1e9 * idle_seconds), now);
  }
  return idle_seconds;
}

// A step begins when it is enqueued, or when the one before it ends.
void LayerScheduler::note_when_finished(std::string_view what, int32_t layer) {
  stream_->run_on_host([this, step = ++enqueued_, enqueued_ns = timeline_now_ns(), what, layer] {
    const int64_t now = timeline_now_ns();
    if (parts_.timeline != nullptr)
      add_step(*parts_.timeline, what, layer,
               {.begin_ns = std::max(enqueued_ns, finished_at_ns_.load()), .end_ns = now});
    finished_at_ns_ = now;
    finished_ = step;
  });
}

void LayerScheduler::note_pass(const PassBatch& batch, int64_t begin_ns) {
  ++passes_;
  if (parts_.timeline == nullptr) return;
  TimelineSpan pass;
  std::snprintf(pass.name, sizeof pass.name, "pass %lld: %zu tokens, %zu rows",
                static_cast<long long>(passes_), batch.tokens.size(), batch.sequences.size());
  parts_.timeline->add(Track::kPass, pass.name, begin_ns, timeline_now_ns());
}

}  // namespace zerostream
