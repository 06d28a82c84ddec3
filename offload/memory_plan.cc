#include "offload/memory_plan.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "base/bytes.h"
#include "model/activations.h"
#include "offload/device_arrays.h"
#include "offload/embedding_reader.h"
#include "offload/kv_store.h"
#include "offload/schedule.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int32_t kDefaultSequences = 256;
constexpr int32_t kDefaultTokenBudget = 2048;
constexpr int32_t kMinPassTokens = 16;  // auto sizes shrink to this before a plan is given up
constexpr int32_t kMaxDepth = 64;
constexpr int32_t kScoredRows = 128;  // that the head serves at once; fewer would read it too often
constexpr int64_t kAheadBytes = int64_t{256} << 20;  // auto depth keeps about so much on its way
constexpr int64_t kUnknownRowTokens = 1024;  // prompt and output, where nothing is known of rows
constexpr double kLongRows = 1.1;  // rows that are active are longer than the mean of all rows

int64_t sum_bytes(const std::vector<PoolBytes>& pools) {
  int64_t sum = 0;
  for (const PoolBytes& pool : pools) sum += pool.bytes;
  return sum;
}

std::string describe(const std::vector<PoolBytes>& pools) {
  std::string text;
  for (const PoolBytes& pool : pools)
    if (pool.bytes > 0)
      text += (text.empty() ? "" : ", ") + pool.name + " " + format_bytes(pool.bytes);
  return text;
}

class Planner {
 public:
  Planner(const ModelLayout& layout, const MemoryRequest& request)
      : layout_(layout),
        request_(request),
        kv_dtype_(request.kv_dtype.value_or(layout.compute_dtype)),
        kv_overflows_(request.kv_placement.kind == PlacementKind::kNvme ||
                      request.kv_placement.kind == PlacementKind::kShares) {
    block_bytes_ = KvStore::block_bytes(layout.config, kv_dtype_, request.block_tokens);
    resident_goal_ = request.placement.memory_bytes(layout.weights_bytes(), "weights.placement");
  }

  MemoryPlan plan() const {
    if (wants_all_resident()) {
      MemoryPlan all = sized(std::vector<bool>(layout_.segments.size(), true));
      if (feasible(all) && (must_be_resident() || !shrunk(all))) return finished(all);
      if (must_be_resident()) refuse(all);
    }
    MemoryPlan plan = sized(std::vector<bool>(layout_.segments.size(), false));
    if (!feasible(plan)) refuse(plan);
    make_resident(plan);
    return finished(plan);
  }

 private:
  bool must_be_resident() const { return request_.placement.kind == PlacementKind::kHost; }
  bool wants_all_resident() const {
    return !resident_goal_ || *resident_goal_ >= layout_.weights_bytes();
  }

  // A plan of sizes that fit beside the resident segments, as far as any do.
  MemoryPlan sized(std::vector<bool> resident) const {
    MemoryPlan plan;
    plan.resident = std::move(resident);
    plan.kv_dtype = kv_dtype_;
    set_slots(plan, request_.prefetch_depth >= 0
                        ? request_.prefetch_depth
                        : automatic_depth(layout_, plan.resident, request_.host_memory));
    plan.max_sequences =
        request_.max_sequences > 0
            ? request_.max_sequences
            : static_cast<int32_t>(std::min<int64_t>(kDefaultSequences, rows_of_job()));
    plan.token_budget = request_.token_budget > 0
                            ? request_.token_budget
                            : static_cast<int32_t>(request_.workload.useful_tokens(
                                  plan.max_sequences, kDefaultTokenBudget));
    plan.max_sequences = std::min(plan.max_sequences, plan.token_budget);
    while (left(plan) < kv_bytes_wanted(plan) && shrink(plan)) {
    }
    return plan;
  }

  void set_slots(MemoryPlan& plan, int32_t depth) const {
    plan.prefetch_depth = depth;
    plan.ring_bytes = make_schedule(layout_.segments, {plan.resident, depth}).ring_bytes;
  }

  // Memory for keys and values, and for weights that stay.
  int64_t left(const MemoryPlan& plan) const {
    return request_.host_memory - sum_bytes(fixed_pools(plan));
  }

  std::vector<PoolBytes> fixed_pools(const MemoryPlan& plan) const {
    int64_t rows = 0;
    for (MatrixRole role : {MatrixRole::kTokenEmbedding, MatrixRole::kPositionEmbedding})
      rows += EmbeddingReader::staging_bytes(role, layout_, plan.resident, plan.token_budget);
    return {{"vectors", layout_.vectors_segment.bytes},
            {"resident weights", plan.resident_bytes(layout_)},
            {"slots", plan.ring_bytes},
            {"embedding rows", rows},
            {"activations", Activations::bytes(layout_.config, layout_.compute_dtype,
                                               plan.token_budget, logit_rows(plan))},
            {"pass arrays", request_.own_memory ? pass_array_bytes(plan) : 0},
            {"kv tables", kv_table_bytes(plan)},
            {"scratch", request_.scratch_bytes}};
  }

  int64_t pass_array_bytes(const MemoryPlan& plan) const {
    return DeviceArrays::pass_bytes(layout_.config, plan.token_budget, plan.max_sequences,
                                    longest_row(), request_.block_tokens);
  }

  // Of what comes from elsewhere in mid-pass.
  int64_t kv_table_bytes(const MemoryPlan& plan) const {
    if (!request_.own_memory || !kv_overflows_) return 0;
    return KvStore::table_bytes(plan.max_sequences, longest_row(), request_.block_tokens);
  }

  int32_t logit_rows(const MemoryPlan& plan) const {
    if (!request_.workload.scored) return plan.max_sequences;
    return std::max(plan.max_sequences, std::min(plan.token_budget, kScoredRows));
  }

  int64_t blocks_for(double tokens) const {
    return static_cast<int64_t>(std::ceil(tokens / request_.block_tokens));
  }
  int64_t longest_row() const {
    const int64_t limit = layout_.config.max_position_embeddings;
    const int64_t unknown = kv_overflows_ ? 4 * kUnknownRowTokens : kUnknownRowTokens / 4;
    return std::min(
        limit, request_.workload.lengths_known() ? request_.workload.longest_row_tokens : unknown);
  }
  double mean_row() const {
    const auto limit = static_cast<double>(layout_.config.max_position_embeddings);
    return std::min(limit, request_.workload.lengths_known()
                               ? kLongRows * request_.workload.mean_row_tokens()
                               : kUnknownRowTokens);
  }

  // Blocks that rows of the workload hold when max_sequences of them are active.
  int64_t blocks_wanted(const MemoryPlan& plan) const {
    int64_t rows = plan.max_sequences;
    if (request_.workload.rows > 0) rows = std::min(rows, request_.workload.rows);
    return std::max(rows * blocks_for(mean_row()), blocks_least());
  }
  // Blocks without which a plan is of no use: those of one row.
  int64_t blocks_least() const { return blocks_for(static_cast<double>(longest_row())); }

  // Of blocks in memory while all others are on storage: the last block of every row, and twice
  // what a pass fills, as it is written while the next pass runs.
  int64_t blocks_in_use(const MemoryPlan& plan) const {
    return 2 * (plan.max_sequences + blocks_for(plan.token_budget)) + plan.max_sequences;
  }

  // Blocks that memory keeps where the others go to storage.
  int64_t kv_memory_blocks(const MemoryPlan& plan) const {
    const int64_t all = blocks_wanted(plan) * block_bytes_;
    const int64_t kept =
        request_.kv_placement.memory_bytes(all, "kv_cache.placement").value_or(0) / block_bytes_;
    return std::max(kept, blocks_in_use(plan));
  }

  // A slot need not hold more of a layer than all rows have.
  int64_t kv_ring_bytes(const MemoryPlan& plan) const {
    const int64_t of_layer = blocks_wanted(plan) * block_bytes_ / layout_.config.num_hidden_layers;
    return KvStore::ring_bytes(layout_.config, kv_dtype_, request_.block_tokens, longest_row(),
                               std::min(request_.kv_slot_bytes, of_layer));
  }

  // What the pools for keys and values should have at least. Where nothing is known of rows, half
  // of what is left is enough.
  int64_t kv_bytes_wanted(const MemoryPlan& plan) const {
    if (kv_overflows_) return kv_ring_bytes(plan) + kv_memory_blocks(plan) * block_bytes_;
    const int64_t wanted = blocks_wanted(plan) * block_bytes_;
    if (request_.workload.lengths_known()) return wanted;
    return std::clamp(left(plan) / 2,
                      std::min(wanted, blocks_for(256) * plan.max_sequences * block_bytes_),
                      wanted);
  }
  int64_t kv_bytes_least(const MemoryPlan& plan) const {
    return kv_overflows_ ? kv_bytes_wanted(plan) : blocks_least() * block_bytes_;
  }
  bool feasible(const MemoryPlan& plan) const { return left(plan) >= kv_bytes_least(plan); }

  // Rows that the user did not ask for were given up, or some that were asked for cannot run at
  // once.
  bool shrunk(const MemoryPlan& plan) const {
    const bool fewer = request_.max_sequences <= 0 && plan.max_sequences < kDefaultSequences &&
                       plan.max_sequences < rows_of_job();
    return fewer || left(plan) < kv_bytes_wanted(plan);
  }
  int64_t rows_of_job() const {
    return request_.workload.rows > 0 ? request_.workload.rows : kDefaultSequences;
  }

  // Halves what was left to the plan; the depth only where not even one row would fit. False when
  // there is nothing to halve.
  bool shrink(MemoryPlan& plan) const {
    const int32_t fewest_tokens = std::max(kMinPassTokens, request_.max_sequences);
    const bool budget = request_.token_budget <= 0 && plan.token_budget / 2 >= fewest_tokens;
    const bool sequences = request_.max_sequences <= 0 && plan.max_sequences > 1;
    if (budget) plan.token_budget /= 2;
    if (sequences) plan.max_sequences = std::min(plan.max_sequences / 2, plan.token_budget);
    if (budget || sequences) return true;
    if (feasible(plan) || request_.prefetch_depth >= 0 || plan.prefetch_depth <= 1) return false;
    set_slots(plan, plan.prefetch_depth / 2);
    return true;
  }

  // Uses what is left beside keys and values for weights that stay; slots may shrink or grow with
  // what still streams.
  void make_resident(MemoryPlan& plan) const {
    int64_t room = left(plan) + plan.ring_bytes - kv_bytes_wanted(plan);
    if (resident_goal_) room = std::min(room, *resident_goal_ + plan.ring_bytes);
    const int32_t depth = plan.prefetch_depth;
    for (int64_t weights = room - plan.ring_bytes; weights > 0;) {
      MemoryPlan trial = plan;
      trial.resident = choose_resident(layout_, weights);
      set_slots(trial, request_.prefetch_depth >= 0
                           ? depth
                           : std::min(depth, automatic_depth(layout_, trial.resident,
                                                             request_.host_memory)));
      const int64_t over = kv_bytes_wanted(plan) - left(trial);
      if (over <= 0) {
        plan = trial;
        return;
      }
      weights -= std::max(over, kTileBytes);
    }
    if (request_.placement.kind == PlacementKind::kShares && *resident_goal_ > 0) refuse(plan);
  }

  // Blocks that rows can use at all. Where nothing streams, memory is not taken for more than those
  // of this job can.
  int64_t blocks_most(const MemoryPlan& plan) const {
    const bool streams = plan.resident_bytes(layout_) < layout_.weights_bytes();
    const int64_t longest = streams || kv_overflows_ || !request_.workload.lengths_known()
                                ? layout_.config.max_position_embeddings
                                : longest_row();
    return plan.max_sequences * blocks_for(static_cast<double>(longest));
  }

  MemoryPlan finished(MemoryPlan plan) const {
    const int64_t most = blocks_most(plan);
    plan.logit_rows = logit_rows(plan);
    if (request_.own_memory) plan.array_bytes = pass_array_bytes(plan);
    plan.kv_table_bytes = kv_table_bytes(plan);
    plan.kv_block_bytes = block_bytes_;
    plan.kv_on_host = request_.kv_on_host;
    plan.pools = fixed_pools(plan);
    int64_t bytes = left(plan);
    if (kv_overflows_) {
      plan.kv_ring_bytes = kv_ring_bytes(plan);
      bytes -= plan.kv_ring_bytes;
    }
    plan.kv_memory_blocks = std::min(bytes / block_bytes_, most);
    if (kv_overflows_)
      plan.kv_memory_blocks = std::min(plan.kv_memory_blocks, kv_memory_blocks(plan));
    plan.kv_blocks = plan.kv_memory_blocks;
    // Room on storage costs nothing.
    const int64_t wanted = (plan.kv_on_host ? 1 : 2) * blocks_wanted(plan);
    if (kv_overflows_) plan.kv_blocks = std::clamp(wanted, plan.kv_memory_blocks, most);
    plan.kv_least_blocks = std::max(blocks_least(), plan.kv_memory_blocks + 1);
    if (!plan.kv_overflows()) plan.kv_ring_bytes = 0;
    plan.pools.push_back({"kv cache", plan.kv_memory_blocks * block_bytes_});
    plan.pools.push_back({"kv slots", plan.kv_ring_bytes});
    return plan;
  }

  [[noreturn]] void refuse(MemoryPlan plan) const {
    std::vector<PoolBytes> pools = fixed_pools(plan);
    pools.push_back({"kv cache", kv_bytes_least(plan)});
    const int64_t needed = sum_bytes(pools);
    const std::string memory = request_.own_memory ? "device" : "host";
    throw InfeasibleError(
        "the run needs at least " + format_bytes(needed) + " of " + memory + " memory (" +
        describe(pools) + ") but may use " + format_bytes(request_.host_memory) + ": " +
        format_bytes(needed - request_.host_memory) + " are missing. Raise " + memory +
        ".memory, or lower prefetch.depth, batch.token_budget or batch.max_sequences" +
        (plan.resident.front() ? ", or set weights.placement: nvme" : ""));
  }

  const ModelLayout& layout_;
  const MemoryRequest& request_;
  const DType kv_dtype_;
  const bool kv_overflows_;
  int64_t block_bytes_ = 0;  // over all layers
  std::optional<int64_t> resident_goal_;
};

}  // namespace

namespace {

int64_t bytes_of(const std::vector<bool>& chosen, const ModelLayout& layout) {
  int64_t bytes = 0;
  for (size_t i = 0; i < chosen.size(); ++i)
    if (chosen[i]) bytes += layout.segments[i].bytes;
  return bytes;
}

}  // namespace

int64_t MemoryPlan::resident_bytes(const ModelLayout& layout) const {
  return bytes_of(resident, layout);
}

int64_t MemoryPlan::host_bytes(const ModelLayout& layout) const {
  return bytes_of(on_host, layout);
}

std::vector<bool> choose_resident(const ModelLayout& layout, int64_t bytes) {
  const std::vector<Segment>& segments = layout.segments;
  std::vector<bool> resident(segments.size(), false);
  int64_t streamed = 0;
  for (const Segment& segment : segments)
    if (!is_embedding(segment)) streamed += segment.bytes;
  const double share =
      streamed == 0 ? 1 : std::min(1.0, static_cast<double>(bytes) / static_cast<double>(streamed));
  double due = 0;
  const auto keep = [&](size_t index) {
    resident[index] = true;
    bytes -= segments[index].bytes;
  };
  for (size_t i = 0; i < segments.size(); ++i) {
    if (is_embedding(segments[i])) continue;
    due += share * static_cast<double>(segments[i].bytes);
    if (due < 0.5 * static_cast<double>(segments[i].bytes) || segments[i].bytes > bytes) continue;
    due -= static_cast<double>(segments[i].bytes);
    keep(i);
  }
  for (const bool embeddings : {false, true})
    for (size_t i = 0; i < segments.size(); ++i)
      if (!resident[i] && is_embedding(segments[i]) == embeddings && segments[i].bytes <= bytes)
        keep(i);
  return resident;
}

int32_t automatic_depth(const ModelLayout& layout, const std::vector<bool>& resident,
                        int64_t host_memory) {
  const int64_t ahead = std::min(kAheadBytes, host_memory / 6);
  int64_t bytes = 0, count = 0;
  for (size_t i = 0; i < layout.segments.size(); ++i)
    if (!resident[i] && !is_embedding(layout.segments[i]))
      bytes += layout.segments[i].bytes, ++count;
  if (bytes == 0) return 0;
  return static_cast<int32_t>(std::clamp<int64_t>(ahead * count / bytes, 2, kMaxDepth));
}

MemoryPlan plan_memory(const ModelLayout& layout, const MemoryRequest& request) {
  if (request.token_budget > 0 && request.max_sequences > request.token_budget)
    throw UsageError("batch.max_sequences: " + std::to_string(request.max_sequences) +
                     " rows need a token each in a pass, but batch.token_budget is " +
                     std::to_string(request.token_budget));
  return Planner(layout, request).plan();
}

}  // namespace zerostream
