#include "offload/simulator.h"

#include <algorithm>
#include <cmath>
#include <deque>

#include "base/require.h"
#include "offload/kv_store.h"
#include "prefetch/slot_ring.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr double kPieceBytes = 4 << 20;  // what stages of a fetch hand on
constexpr int kMostPasses = 8;
constexpr double kSteady = 1e-3;

// Serves one thing at a time, in the order of the calls.
struct Server {
  double free = 0;  // from then on
  double busy = 0;

  double serve(double from, double seconds) {
    free = std::max(free, from) + seconds;
    busy += seconds;
    return free;
  }
};

// The state of all resources, on its way through the steps.
class Machine {
 public:
  Machine(const Simulator& simulator, std::vector<SimulatedFetch>* log)
      : layout_(simulator.layout()),
        run_(simulator.run()),
        costs_(simulator.costs()),
        log_(log),
        ring_(std::max<int64_t>(simulator.ring_bytes(), kTileBytes), run_.prefetch_depth + 1) {}
  ~Machine() {
    if (log_ != nullptr) log_->insert(log_->end(), fetches_.begin(), fetches_.end());
  }

  double now() const { return host_; }
  double weights_stall_seconds() const { return weights_stall_; }
  double kv_stall_seconds() const { return kv_stall_; }
  ResourceSeconds busy() const {
    return {storage_.busy, upload_.busy, download_.busy, gather_.busy, compute_.busy};
  }

  void prologue(const Schedule& schedule) {
    for (const Step& step : schedule.prologue) submit(step.segment);
  }

  void pass(const Schedule& schedule, const PassShape& shape, int32_t micro_batches) {
    kv_units_.clear();
    kv_released_.clear();
    for (const Step& step : schedule.pass) take(step, shape, micro_batches);
    compute_.serve(host_, costs_.sample_seconds(shape));
    host_ = compute_.free;
    write_behind(shape);
  }

 private:
  bool streamed(int32_t segment) const { return run_.weights[segment] != Tier::kDevice; }

  void take(const Step& step, const PassShape& shape, int32_t micro_batches) {
    switch (step.kind) {
      case StepKind::kFetch:
        return submit(step.segment);
      case StepKind::kEmbed:
        if (run_.weights.front() == Tier::kNvme) read_embeddings(shape);
        compute_.serve(host_, costs_.embed_seconds(shape));
        return;
      case StepKind::kApply:
        return apply(step, shape);
      case StepKind::kWriteKv:
        compute_.serve(host_, costs_.write_kv_seconds(shape));
        return;
      case StepKind::kFetchKv:
        return submit_kv(step.layer, shape, micro_batches);
      case StepKind::kAttend:
        if (micro_batches > 0) wait_for_kv();
        compute_.serve(host_, costs_.attend_seconds(step.layer, shape, std::max(1, micro_batches)));
        return;
      case StepKind::kReleaseKv:
        kv_released_.push_back(compute_.free);
        return;
      case StepKind::kRelease:
        return release();
    }
  }

  // The host waits for rows, which are read ahead of segments.
  void read_embeddings(const PassShape& shape) {
    const double seconds = costs_.embedding_read_seconds(shape.tokens);
    storage_.free = std::max(storage_.free, host_) + seconds;
    storage_.busy += seconds;
    weights_stall_ += seconds;
    host_ += seconds;
  }

  void submit(int32_t segment) {
    const int64_t bytes = layout_.segments[segment].bytes;
    SimulatedFetch fetch{.segment = segment, .submitted = host_};
    lease_from_ = std::max(lease_from_, host_);
    fetch.slot_begin = lease(bytes);
    fetch.slot_end = fetch.slot_begin + bytes;
    fetch.begun = lease_from_;
    fetch.ready = move(lease_from_, bytes, run_.weights[segment], &read_end_);
    fetches_.push_back(fetch);
    read_ends_.push_back(read_end_);
  }

  // Takes a slot at lease_from_, or as soon after it as there is room.
  int64_t lease(int64_t bytes) {
    const auto give_back = [this] {
      ring_.give_back_oldest();
      release_times_.pop_front();
    };
    while (!release_times_.empty() && release_times_.front() <= lease_from_) give_back();
    for (;;) {
      if (const auto slot = ring_.take(bytes)) return *slot;
      require(!release_times_.empty(), "a slot comes free before the steps go on");
      lease_from_ = std::max(lease_from_, release_times_.front());
      give_back();
    }
  }

  // Moves bytes from their tier to the device, each stage taking over pieces as they come. Returns
  // when all are there; `read_end`: when all have left storage.
  double move(double from, int64_t bytes, Tier tier, double* read_end) {
    const double pieces = std::max(1.0, static_cast<double>(bytes) / kPieceBytes);
    double first = from, end = from;
    const auto stage = [&](Server& server, double seconds) {
      if (seconds == 0) return;
      const double begin = std::max(first, server.free);
      end = std::max(server.serve(first, seconds), end + seconds / pieces);
      server.free = end;
      first = begin + seconds / pieces;
    };
    if (tier == Tier::kNvme) {
      if (storage_.free < from) first += costs_.read_latency();
      stage(storage_, costs_.read_seconds(bytes));
    }
    *read_end = end;
    stage(upload_, costs_.upload_seconds(bytes));
    stage(gather_, costs_.gather_seconds(bytes));
    return end;
  }

  void apply(const Step& step, const PassShape& shape) {
    const bool first = streamed(step.segment) && !in_use_;
    if (first) wait_for(step.segment);
    compute_.serve(
        host_, costs_.apply_seconds(layout_.segments[step.segment].matrices[step.matrix], shape));
  }

  // The host waits until the bytes are on their way, the stream until they are there.
  void wait_for(int32_t segment) {
    SimulatedFetch& fetch = fetches_[next_used_];
    require(fetch.segment == segment, "fetches are used in order");
    const double idle_from = std::max(host_, compute_.free);
    host_ = std::max(host_, read_ends_[next_used_]);
    compute_.free = std::max(compute_.free, fetch.ready);
    fetch.stall_seconds = std::max(0.0, fetch.ready - idle_from);
    weights_stall_ += fetch.stall_seconds;
    fetch.first_use = std::max(host_, compute_.free);
    fetch.used = in_use_ = true;
  }

  void release() {
    fetches_[next_used_].last_use_end = compute_.free;
    release_times_.push_back(compute_.free);
    in_use_ = false;
    if (log_ != nullptr) {
      ++next_used_;
    } else {
      fetches_.pop_front();
      read_ends_.pop_front();
    }
  }

  void submit_kv(int32_t layer, const PassShape& shape, int32_t micro_batches) {
    const size_t slots = KvStore::kFetchDepth + 1;
    double from = host_;
    if (kv_units_.size() >= slots) from = std::max(from, kv_released_.at(kv_units_.size() - slots));
    const auto bytes = static_cast<int64_t>(
        run_.kv_share * static_cast<double>(costs_.kv_read_bytes(layer, shape)) / micro_batches);
    double read_end = 0;
    const double ready = move(from, bytes, run_.kv, &read_end);
    kv_units_.push_back({read_end, ready});
  }

  void wait_for_kv() {
    const KvUnit& unit = kv_units_.at(kv_released_.size());
    kv_stall_ += std::max(0.0, unit.ready - std::max(host_, compute_.free));
    host_ = std::max(host_, unit.read_end);
    compute_.free = std::max(compute_.free, unit.ready);
  }

  // What the pass added goes to where its keys and values rest.
  void write_behind(const PassShape& shape) {
    if (run_.kv == Tier::kDevice) return;
    const double layers = layout_.config.num_hidden_layers;
    const auto bytes = static_cast<int64_t>(layers * run_.kv_share *
                                            static_cast<double>(costs_.kv_written_bytes(shape)));
    const double down = download_.serve(host_, costs_.download_seconds(bytes));
    upload_.free = std::max(upload_.free, host_) + costs_.upload_delay_seconds(bytes);
    if (run_.kv == Tier::kNvme) storage_.serve(down, costs_.write_seconds(bytes));
  }

  struct KvUnit {
    double read_end = 0, ready = 0;
  };

  const ModelLayout& layout_;
  const SimulatedRun& run_;
  const CostModel& costs_;
  std::vector<SimulatedFetch>* log_;
  double host_ = 0;
  Server storage_, upload_, download_, gather_, compute_;
  SlotRing ring_;
  double lease_from_ = 0;             // slots are taken in order: none before the last
  std::deque<double> release_times_;  // of slots that are not given back
  std::deque<SimulatedFetch> fetches_;
  std::deque<double> read_ends_;  // of fetches_
  size_t next_used_ = 0;          // of fetches_
  double read_end_ = 0;
  bool in_use_ = false;
  std::vector<KvUnit> kv_units_;     // of the pass
  std::vector<double> kv_released_;  // of kv_units_, from the first
  double weights_stall_ = 0, kv_stall_ = 0;
};

void check_profile(const SimulatedRun& run, const HardwareProfile& profile) {
  const auto uses = [&](Tier tier) {
    return std::find(run.weights.begin(), run.weights.end(), tier) != run.weights.end() ||
           (run.kv == tier && run.kv_share > 0);
  };
  if (uses(Tier::kNvme) && !profile.storage)
    throw UsageError("the hardware profile \"" + profile.name +
                     "\" has no storage, but the run reads from it");
  if (uses(Tier::kHost) && !profile.link)
    throw UsageError("the hardware profile \"" + profile.name +
                     "\" has no link between host and device, but the run needs one");
}

}  // namespace

Simulator::Simulator(const ModelLayout& layout, const HardwareProfile& profile, SimulatedRun run)
    : layout_(layout), run_(std::move(run)), costs_(layout, profile, run_.costs) {
  require(run_.weights.size() == layout.segments.size(), "every segment has its tier");
  check_profile(run_, profile);
  schedules_.emplace(0, make(0));
}

Schedule Simulator::make(int32_t kv_micro_batches) const {
  ScheduleOptions options;
  options.prefetch_depth = run_.prefetch_depth;
  options.kv_micro_batches = kv_micro_batches;
  options.kv_depth = KvStore::kFetchDepth;
  for (const Tier tier : run_.weights) options.resident.push_back(tier == Tier::kDevice);
  return make_schedule(layout_.segments, options);
}

int32_t Simulator::kv_micro_batches(const PassShape& shape) const {
  if (run_.kv == Tier::kDevice || run_.kv_share == 0) return 0;
  const double slot = static_cast<double>(run_.kv_ring_bytes) / (KvStore::kFetchDepth + 2);
  const double bytes = run_.kv_share * static_cast<double>(costs_.kv_read_bytes(0, shape));
  const double most = static_cast<double>(std::max<int64_t>(shape.rows, 1));
  return static_cast<int32_t>(std::clamp(std::ceil(bytes / std::max(slot, 1.0)), 1.0, most));
}

const Schedule& Simulator::schedule_for(const PassShape& shape) const {
  const int32_t micro_batches = kv_micro_batches(shape);
  const auto found = schedules_.find(micro_batches);
  if (found != schedules_.end()) return found->second;
  return schedules_.emplace(micro_batches, make(micro_batches)).first->second;
}

PassPrediction Simulator::pass(const PassShape& shape) const {
  const Schedule& schedule = schedule_for(shape);
  const int32_t micro_batches = kv_micro_batches(shape);
  Machine machine(*this, nullptr);
  machine.prologue(schedule);
  PassPrediction last;
  for (int i = 0; i < kMostPasses; ++i) {
    const double begin = machine.now();
    const ResourceSeconds busy = machine.busy();
    const double weights_stall = machine.weights_stall_seconds();
    const double kv_stall = machine.kv_stall_seconds();
    machine.pass(schedule, shape, micro_batches);
    const double before = last.seconds;
    last = {machine.now() - begin, machine.busy() - busy,
            machine.weights_stall_seconds() - weights_stall, machine.kv_stall_seconds() - kv_stall};
    if (i > 0 && std::abs(last.seconds - before) <= kSteady * last.seconds) break;
  }
  return last;
}

std::vector<SimulatedFetch> Simulator::fetches(std::span<const PassShape> passes) const {
  std::vector<SimulatedFetch> log;
  {
    Machine machine(*this, &log);
    machine.prologue(schedules_.at(0));
    for (const PassShape& shape : passes)
      machine.pass(schedule_for(shape), shape, kv_micro_batches(shape));
  }
  return log;
}

}  // namespace zerostream
