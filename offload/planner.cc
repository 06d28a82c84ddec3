#include "offload/planner.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <tuple>

#include "base/require.h"
#include "offload/host_plan.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int32_t kMostRows = 4096;
constexpr int32_t kMostTokens = 8192;
constexpr int32_t kMostDeviceTokens = 32768;  // more are tried only where arithmetic may be fast
constexpr size_t kFinalists = 3;              // whose whole job is simulated
constexpr int32_t kManyRows = 256;            // more at once change little where nothing streams
constexpr double kStorageMargin = 1.03;       // predictions are no more exact than this

bool fits_memory(const ModelLayout& layout, const MemoryRequest& request, const MemoryPlan& plan) {
  if (plan.resident_bytes(layout) < layout.weights_bytes() || plan.kv_overflows()) return false;
  if (request.max_sequences > 0) return true;
  const int64_t rows = request.workload.rows > 0 ? request.workload.rows : kManyRows;
  return plan.max_sequences >= std::min<int64_t>(rows, kManyRows);
}

// Sizes and places that plans differ in.
struct Choice {
  int32_t max_sequences = 0;  // 0: as plan_memory() chooses
  int32_t token_budget = 0;
  Tier kv = Tier::kDevice;

  friend auto operator<=>(const Choice&, const Choice&) = default;
};

struct Candidate {
  Choice choice;
  RunPlan plan;
  double seconds = 0;  // of the job, estimated

  // Keys and values go to storage only where that is clearly faster.
  double cost() const { return choice.kv == Tier::kNvme ? kStorageMargin * seconds : seconds; }
};

class Search {
 public:
  Search(const ModelLayout& layout, const PlanRequest& request, const HardwareProfile& profile)
      : layout_(layout),
        request_(request),
        profile_(profile),
        workload_(request.memory.workload),
        own_memory_(profile.link.has_value()) {
    if (workload_.rows > 0) workload_.rows = ceil_div(workload_.rows, request.ranks);
  }

  RunPlan best() {
    if (auto memory = without_rates()) {
      RunPlan plan = completed(std::move(*memory), Tier::kDevice);
      simulate(plan);
      return plan;
    }
    for (const Tier kv : kv_tiers())
      for (const int32_t rows : {1, 4, 16, 64, 256, 1024, kMostRows}) add_budgets(rows, kv);
    for (const Tier kv : kv_tiers())
      if (candidates_.empty()) add({.kv = kv});
    if (candidates_.empty()) throw_why();
    for (int round = 0; round < 2; ++round) refine(leader().choice);
    std::sort(candidates_.begin(), candidates_.end(), faster);
    candidates_.resize(std::min(candidates_.size(), kFinalists));
    for (Candidate& candidate : candidates_) {
      simulate(candidate.plan);
      candidate.seconds = candidate.plan.job.seconds / candidate.plan.job.generated_tokens;
    }
    return leader().plan;
  }

 private:
  static bool faster(const Candidate& a, const Candidate& b) { return a.cost() < b.cost(); }
  const Candidate& leader() const {
    return *std::min_element(candidates_.begin(), candidates_.end(), faster);
  }

  std::optional<MemoryPlan> without_rates() const {
    MemoryRequest request = request_.memory;
    request.workload.rows = workload_.rows;
    request.own_memory = own_memory_;
    return plan_without_rates(layout_, request, request_.host_memory);
  }

  void simulate(RunPlan& plan) const {
    const Simulator simulator(layout_, profile_, plan.run);
    plan.job = simulate_job(simulator, plan.wave, job_workload());
  }

  // Where nothing is known of rows, they are like what plan_memory() takes them to be.
  Workload job_workload() const {
    if (workload_.mean_row_tokens() > 0) return workload_;
    return {.rows = workload_.rows,
            .mean_prompt_tokens = 256,
            .mean_new_tokens = 128,
            .longest_prompt_tokens = 256,
            .longest_row_tokens = 384};
  }

  std::vector<Tier> kv_tiers() const {
    switch (request_.memory.kv_placement.kind) {
      case PlacementKind::kHost:
        return {own_memory_ && !request_.memory.kv_placement.device ? Tier::kHost : Tier::kDevice};
      case PlacementKind::kNvme:
        return {Tier::kNvme};
      case PlacementKind::kShares:
        return {own_memory_ && kv_rests_on_host(request_.memory.kv_placement) ? Tier::kHost
                                                                              : Tier::kNvme};
      case PlacementKind::kAuto:
        break;
    }
    std::vector<Tier> tiers = {Tier::kDevice};
    if (own_memory_) tiers.push_back(Tier::kHost);
    if (profile_.storage) tiers.push_back(Tier::kNvme);
    return tiers;
  }

  void add_budgets(int32_t rows, Tier kv) {
    for (const int32_t tokens : {rows, 512, 2048, kMostTokens, kMostDeviceTokens})
      if (tokens <= kMostTokens || own_memory_)
        add({.max_sequences = rows, .token_budget = tokens, .kv = kv});
  }

  void refine(const Choice around) {
    for (const double rows : {0.5, 0.75, 1.0, 1.5, 2.0})
      for (const double tokens : {0.5, 1.0, 2.0})
        add({.max_sequences = static_cast<int32_t>(std::lround(rows * around.max_sequences)),
             .token_budget = static_cast<int32_t>(std::lround(tokens * around.token_budget)),
             .kv = around.kv});
  }

  // Tries a choice, put within what the request and the workload leave of it.
  void add(Choice choice) {
    const MemoryRequest& asked = request_.memory;
    if (choice.max_sequences > 0) {
      if (workload_.rows > 0)
        choice.max_sequences =
            static_cast<int32_t>(std::min<int64_t>(choice.max_sequences, workload_.rows));
      if (asked.max_sequences > 0) choice.max_sequences = asked.max_sequences;
      if (asked.token_budget > 0)
        choice.max_sequences = std::min(choice.max_sequences, asked.token_budget);
      choice.token_budget = asked.token_budget > 0
                                ? asked.token_budget
                                : useful_budget(choice.token_budget, choice.max_sequences);
    }
    if (!tried_.insert(choice).second) return;
    try {
      Candidate candidate{.choice = choice, .plan = make(choice), .seconds = 0};
      candidate.choice.max_sequences = candidate.plan.memory.max_sequences;
      candidate.choice.token_budget = candidate.plan.memory.token_budget;
      candidate.seconds = estimate(candidate.plan);
      candidates_.push_back(std::move(candidate));
    } catch (const InfeasibleError&) {
    }
  }

  int32_t useful_budget(int32_t tokens, int32_t rows) const {
    return static_cast<int32_t>(workload_.useful_tokens(rows, std::min(tokens, kMostDeviceTokens)));
  }

  [[noreturn]] void throw_why() const {
    make({.kv = own_memory_ ? kv_tiers().front() : kv_tiers().back()});
    throw InternalError("a plan is feasible, but was not found");
  }

  RunPlan make(const Choice& choice) const {
    MemoryRequest request = request_.memory;
    if (choice.max_sequences > 0) {
      request.max_sequences = choice.max_sequences;
      request.token_budget = choice.token_budget;
    }
    request.workload.rows = workload_.rows;
    if (request.kv_placement.kind == PlacementKind::kAuto)
      request.kv_placement = {.kind = choice.kv == Tier::kDevice ? PlacementKind::kHost
                                                                 : PlacementKind::kNvme};
    else if (own_memory_)
      request.kv_placement = device_placement(request.kv_placement);
    request.kv_on_host = choice.kv == Tier::kHost;
    request.own_memory = own_memory_;
    if (own_memory_) request.placement = device_placement(request.placement);
    MemoryPlan memory = plan_memory(layout_, request);
    if (own_memory_)
      plan_host_memory(layout_, request_.memory.placement, request_.host_memory, memory);
    return completed(std::move(memory), choice.kv);
  }

  RunPlan completed(MemoryPlan memory, Tier kv) const {
    const MemoryRequest& request = request_.memory;
    RunPlan plan;
    plan.memory = std::move(memory);
    place_weights(plan);
    plan.wave = {.max_sequences = plan.memory.max_sequences,
                 .token_budget = plan.memory.token_budget,
                 .kv_blocks = plan.memory.kv_blocks,
                 .block_tokens = request.block_tokens,
                 .scored = workload_.scored};
    plan.run.prefetch_depth = plan.memory.prefetch_depth;
    plan.run.costs = {.ranks = request_.ranks,
                      .kv_dtype = plan.memory.kv_dtype,
                      .block_tokens = request.block_tokens,
                      .int8_activations = request_.int8_activations};
    place_kv(kv, plan);
    return plan;
  }

  int64_t blocks_per_row() const {
    return std::max<int64_t>(1, static_cast<int64_t>(std::ceil(job_workload().mean_row_tokens() /
                                                               request_.memory.block_tokens)));
  }
  // Rows that run at once while there are enough.
  int64_t rows_at_once(const RunPlan& plan) const {
    int64_t rows = std::min(plan.wave.max_sequences, plan.wave.kv_blocks / blocks_per_row());
    if (workload_.rows > 0) rows = std::min(rows, workload_.rows);
    return std::max<int64_t>(rows, 1);
  }

  void place_kv(Tier tier, RunPlan& plan) const {
    if (!plan.memory.kv_overflows()) return;
    const double used = static_cast<double>(rows_at_once(plan) * blocks_per_row());
    const double kept = static_cast<double>(plan.memory.kv_memory_blocks);
    plan.run.kv = tier;
    plan.run.kv_share = std::max(0.0, 1 - kept / used);
    plan.run.kv_ring_bytes = plan.memory.kv_ring_bytes;
  }

  void place_weights(RunPlan& plan) const {
    const MemoryPlan& memory = plan.memory;
    for (size_t i = 0; i < memory.resident.size(); ++i)
      plan.run.weights.push_back(memory.resident[i]                 ? Tier::kDevice
                                 : own_memory_ && memory.on_host[i] ? Tier::kHost
                                                                    : Tier::kNvme);
  }

  // Seconds that one token of the job takes, by the passes that most of it consists of: full ones
  // that decode while prompts ride along, and at the end of the job, or of a short one, ones that
  // only decode after ones with prompts only.
  double estimate(const RunPlan& plan) const {
    const Simulator simulator(layout_, profile_, plan.run);
    const Workload workload = job_workload();
    const int64_t rows = rows_at_once(plan);
    const double prompt = workload.mean_prompt_tokens, made = workload.mean_new_tokens;
    const auto context = static_cast<int64_t>(prompt + made / 2);
    const PassShape decode = PassShape::decode(rows, context);
    const double decode_seconds = simulator.pass(decode).seconds;
    const double prompts = static_cast<double>(rows) * prompt;
    const auto chunk =
        static_cast<int64_t>(std::min(static_cast<double>(plan.wave.token_budget), prompts));
    const double alone = made * decode_seconds +
                         std::ceil(prompts / static_cast<double>(std::max<int64_t>(chunk, 1))) *
                             simulator.pass(with_prompts({}, chunk)).seconds;
    const double waves =
        workload.rows == 0 ? 16 : static_cast<double>(workload.rows) / static_cast<double>(rows);
    if (waves <= 1) return alone / (static_cast<double>(rows) * made);
    const auto riding = static_cast<int64_t>(
        std::min(prompts / made, static_cast<double>(plan.wave.token_budget - rows)));
    const double passes =
        riding == 0 ? made : std::max(made, prompts / static_cast<double>(riding));
    const double mixed =
        riding == 0 ? alone : passes * simulator.pass(with_prompts(decode, riding)).seconds;
    return ((waves - 1) * mixed + alone) / (waves * static_cast<double>(rows) * made);
  }

  // A pass to which chunks of prompts come, of `tokens` together.
  PassShape with_prompts(PassShape pass, int64_t tokens) const {
    const auto prompt = static_cast<int64_t>(std::max(1.0, job_workload().mean_prompt_tokens));
    for (; tokens > 0; tokens -= std::min(tokens, prompt))
      pass.add_row(0, std::min(tokens, prompt), tokens >= prompt);
    if (workload_.scored) pass.logit_rows = pass.tokens;
    return pass;
  }

  const ModelLayout& layout_;
  const PlanRequest& request_;
  const HardwareProfile& profile_;
  Workload workload_;  // of one rank
  const bool own_memory_;
  std::set<Choice> tried_;
  std::vector<Candidate> candidates_;
};

}  // namespace

std::optional<MemoryPlan> plan_without_rates(const ModelLayout& layout,
                                             const MemoryRequest& request, int64_t host_memory) {
  try {
    MemoryPlan plan = plan_run_memory(layout, request, host_memory);
    if (fits_memory(layout, request, plan)) return plan;
  } catch (const InfeasibleError&) {  // plan_run() has more to try
  }
  return std::nullopt;
}

RunPlan plan_run(const ModelLayout& layout, const PlanRequest& request,
                 const HardwareProfile& profile) {
  return Search(layout, request, profile).best();
}

}  // namespace zerostream
