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

bool has_penalties(const SamplingNumbers& numbers) {
  return numbers.repetition_penalty != 1 || numbers.presence_penalty != 0 ||
         numbers.frequency_penalty != 0;
}

}  // namespace

LayerScheduler::LayerScheduler(const LayerSchedulerParts& parts, const ScheduleOptions& options,
                               int64_t max_tokens, int64_t max_logit_rows)
    : parts_(parts),
      own_memory_(!parts.device->shares_host_memory()),
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
      arrays_(*parts.device, parts.array_bytes),
      tickets_(schedule_.prologue.size() + 1),
      digest_checked_(parts.store->segments().size(), false) {
  const size_t rope_elements = max_tokens * parts.store->config().rope.inverse_frequencies.size();
  rope_cos_.resize(rope_elements);
  rope_sin_.resize(rope_elements);
  row_requests_.reserve(2 * max_tokens);
  scores_.reserve(max_tokens);
  if (own_memory_) notices_.emplace(*parts.device);
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
  const auto quietly = [](auto& stream) {
    try {
      stream.synchronize();
    } catch (...) {  // the error that matters is on its way, or was thrown already
    }
  };
  quietly(*stream_);
  if (notices_) quietly(*notices_);
}

void LayerScheduler::after_stream(HostTask task) {
  if (notices_)
    notices_->after(*stream_, std::move(task));
  else
    stream_->run_on_host(std::move(task));
}

void LayerScheduler::run_steps(const PassBatch& batch, const SampleRow* rows,
                               SampleResult* results) {
  const int64_t begin_ns = timeline_now_ns();
  kv_stall_seconds_ += note_wait("KV memory", parts_.kv->begin_pass(batch.sequences));
  set_micro_batches(parts_.kv->micro_batches());
  if (!started_)
    for (const Step& step : schedule_.prologue) fetch(step);
  started_ = true;

  const size_t logit_rows = batch.logit_rows.size();
  put_arrays(batch, {rows, logit_rows}, {results, logit_rows});
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
        forward_.write_kv(step.layer, parts_.kv->layer(step.layer), sequences_);
        break;
      case StepKind::kFetchKv:
        parts_.kv->fetch(step.layer, step.micro_batch);
        break;
      case StepKind::kAttend:
        attend(step);
        break;
      case StepKind::kReleaseKv:
        after_stream(
            [kv = parts_.kv, ticket = std::move(kv_unit_.ticket)] { kv->release(ticket); });
        break;
      case StepKind::kRelease:
        release();
        break;
    }
  }
  if (logit_rows > 0) {
    parts_.kernels->sample(sample_, *stream_);
    arrays_.download(sample_.results, std::span(results, logit_rows), *stream_);
    note_when_finished("sample");
  }
  arrays_.download(states_, std::span(scores_), *stream_);
  stream_->record(*done_);
  done_->wait();
  arrays_.finish();
  parts_.kv->end_pass();
  note_pass(batch, begin_ns);
}

void LayerScheduler::fetch(const Step& step) {
  const Segment& segment = parts_.store->segments()[step.segment];
  FetchRequest request{.file = parts_.weights,
                       .offset = segment.offset,
                       .bytes = segment.bytes,
                       .name = segment.name};
  if (own_memory_) {
    request.source = parts_.resident->host_segment(step.segment);
    if (!digest_checked_[step.segment] && request.source == nullptr)
      request.digest = segment.digest;
    digest_checked_[step.segment] = true;
  }
  tickets_[next_submitted_++ % tickets_.size()] = parts_.prefetcher->submit(request);
}

// Brings what kernels read of the pass to where they can, and begins it.
void LayerScheduler::put_arrays(const PassBatch& batch, std::span<const SampleRow> rows,
                                std::span<SampleResult> results) {
  fill_rope_tables(batch);
  scores_.assign(batch.scored_rows.size(), SoftmaxState());
  const size_t rope = batch.tokens.size() * parts_.store->config().rope.inverse_frequencies.size();
  if (own_memory_) arrays_.begin(array_bytes(batch, rows));
  sequences_ = arrays_.put(parts_.kv->sequences(), parts_.kv->layer(0).block_tokens);
  states_ = arrays_.put(std::span(scores_));
  forward_.begin(
      {static_cast<int64_t>(batch.tokens.size()),
       arrays_.put(std::span(rope_cos_).first(rope)),
       arrays_.put(std::span(rope_sin_).first(rope)),
       arrays_.put(std::span(batch.logit_rows)),
       static_cast<int64_t>(batch.logit_rows.size()),
       {arrays_.put(std::span(batch.scored_rows)), arrays_.put(std::span(batch.score_targets)),
        states_, static_cast<int64_t>(scores_.size())},
       parts_.int8_activations});
  sample_ = {activations_.logits.row_range(0, static_cast<int64_t>(rows.size())), put_rows(rows),
             arrays_.put(results)};
  arrays_.upload(*stream_);
}

const SampleRow* LayerScheduler::put_rows(std::span<const SampleRow> rows) {
  if (!own_memory_) return rows.data();
  placed_rows_.assign(rows.begin(), rows.end());
  for (SampleRow& row : placed_rows_) {
    if (!has_penalties(row.numbers)) row.num_tokens = 0;  // nobody looks at them
    row.tokens = arrays_.put(std::span(row.tokens, row.num_tokens));
    row.banned = arrays_.put(std::span(row.banned, row.num_banned));
  }
  return arrays_.put(std::span(placed_rows_));
}

int64_t LayerScheduler::array_bytes(const PassBatch& batch, std::span<const SampleRow> rows) const {
  const auto size = [](int64_t count, size_t bytes) {
    return DeviceArrays::padded(count * static_cast<int64_t>(bytes));
  };
  const auto tokens = std::ssize(batch.tokens), scored = std::ssize(batch.scored_rows);
  const auto count = std::ssize(rows);
  const auto rope = std::ssize(parts_.store->config().rope.inverse_frequencies);
  int64_t bytes =
      DeviceArrays::sequence_bytes(parts_.kv->sequences(), parts_.kv->layer(0).block_tokens) +
      2 * size(tokens * rope, sizeof(float)) + 2 * size(tokens, sizeof(int64_t)) +
      2 * size(scored, sizeof(int32_t)) + size(scored, sizeof(SoftmaxState)) +
      size(count, sizeof(int32_t)) + size(count, sizeof(SampleRow)) +
      size(count, sizeof(SampleResult));
  for (const SampleRow& row : rows)
    bytes += size(row.num_tokens, sizeof(int32_t)) + size(row.num_banned, sizeof(int32_t));
  return bytes;
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
  EmbeddingRows tokens = token_rows_.locate(batch.tokens, 0, row_requests_);
  EmbeddingRows positions;
  if (position_rows_.exists())
    positions = position_rows_.locate(batch.positions, parts_.store->config().position_offset,
                                      row_requests_);
  if (!row_requests_.empty())
    stall_seconds_ += note_wait("rows", parts_.prefetcher->read_rows(row_requests_));
  for (EmbeddingRows* rows : {&tokens, &positions})
    if (rows->table != nullptr)
      rows->byte_offsets = arrays_.put(std::span(rows->byte_offsets, batch.tokens.size()));
  arrays_.upload(*stream_);
  token_rows_.upload(*stream_);
  position_rows_.upload(*stream_);
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
  const Segment& segment = parts_.store->segments()[index];
  if (own_memory_) {
    wait_on_stream(segment.name, copy_stall_ns_, [&] {
      fetch.wait();
      stream_->wait(*fetch.ready_event());
    });
    return fetch.data();
  }
  stall_seconds_ += note_wait(segment.name, idle_part(fetch.wait()));
  if (!digest_checked_[index]) {
    check_digest(segment, fetch.data(), parts_.weights->path());
    digest_checked_[index] = true;
  }
  return fetch.data();
}

// Here the stream waits for the copy, far behind this thread: it takes the time itself.
template <typename Wait>
void LayerScheduler::wait_on_stream(std::string_view what, std::atomic<int64_t>& stall_ns,
                                    const Wait& wait) {
  after_stream([this] { waits_since_ns_ = timeline_now_ns(); });
  wait();
  after_stream([this, what, &stall_ns] {
    const int64_t since = waits_since_ns_, now = timeline_now_ns();
    stall_ns += now - since;
    if (parts_.timeline != nullptr) parts_.timeline->add(Track::kWait, what, since, now);
  });
}

// What of the time for which this thread was blocked the stream had nothing to do.
double LayerScheduler::idle_part(double blocked_seconds) const {
  if (finished_ != enqueued_) return 0;
  return std::min(blocked_seconds, 1e-9 * static_cast<double>(timeline_now_ns() - finished_at_ns_));
}

void LayerScheduler::attend(const Step& step) {
  const KvLayerView& view = parts_.kv->layer(step.layer);
  if (options_.kv_micro_batches == 0) {
    forward_.attend(step.layer, view, sequences_);
  } else {
    wait_for_kv(step);
    forward_.attend(step.layer, view, kv_unit_.sequences);
  }
  note_when_finished("attention", step.layer);
}

void LayerScheduler::wait_for_kv(const Step& step) {
  const auto wait = [&] {
    return parts_.kv->wait(step.layer, step.micro_batch, *stream_, kv_unit_);
  };
  if (own_memory_)
    wait_on_stream("KV", kv_copy_stall_ns_, wait);
  else
    kv_stall_seconds_ += note_wait("KV", idle_part(wait()));
}

void LayerScheduler::release() {
  after_stream([prefetcher = parts_.prefetcher,
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

// A step begins when it is enqueued, or when the one before it ends. On a device with memory of its
// own only timelines look at steps.
void LayerScheduler::note_when_finished(std::string_view what, int32_t layer) {
  if (own_memory_ && parts_.timeline == nullptr) return;
  after_stream([this, step = ++enqueued_, enqueued_ns = timeline_now_ns(), what, layer] {
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
