#include "offload/job_simulation.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>

#include "base/require.h"

namespace zerostream {
namespace {

constexpr int64_t kWaves = 6;  // of a long job that are simulated
constexpr double kGolden = 0.6180339887498949, kPlastic = 0.7548776662466927;

// Rounds to a number with five leading bits, so that nearly equal passes are equal.
int64_t rounded(int64_t value) {
  const int shift = std::max(0, static_cast<int>(std::bit_width(static_cast<uint64_t>(value))) - 5);
  const int64_t half = shift == 0 ? 0 : int64_t{1} << (shift - 1);
  return (value + half) >> shift << shift;
}

PassShape rounded(const PassShape& shape) {
  return {.rows = rounded(shape.rows),
          .tokens = rounded(shape.tokens),
          .logit_rows = rounded(shape.logit_rows),
          .context_tokens = rounded(shape.context_tokens),
          .seen_tokens = rounded(shape.seen_tokens)};
}

// The point of a sequence that fills the interval evenly, whatever its length.
int64_t spread(double mean, double longest, int64_t index, double step) {
  const double high = std::clamp(longest, mean, std::max(mean, 2 * mean - 1));
  const double low = 2 * mean - high;
  const double at = std::fmod((static_cast<double>(index) + 0.5) * step, 1.0);
  return std::max<int64_t>(1, std::llround(low + (high - low) * at));
}

class JobClock {
 public:
  JobClock(const Simulator& simulator, const SimulatedWave& wave,
           const std::vector<RowTokens>& rows)
      : simulator_(simulator), wave_(wave), rows_(rows), free_blocks_(wave.kv_blocks) {}

  JobPrediction run() {
    for (refill(); !active_.empty(); refill()) pass();
    for (const RowTokens& row : rows_) {
      job_.prompt_tokens += static_cast<double>(row.prompt);
      job_.generated_tokens += static_cast<double>(row.generated);
    }
    return job_;
  }

 private:
  struct Active {
    RowTokens row;
    int64_t computed = 0;  // tokens
    int64_t generated = 0;
    int64_t blocks = 0;
  };

  void refill() {
    while (next_ < rows_.size() && std::ssize(active_) < wave_.max_sequences) {
      const RowTokens& row = rows_[next_];
      const int64_t tokens = row.prompt + row.generated - 1;  // the last one is not fed back
      const int64_t blocks = ceil_div(tokens, wave_.block_tokens);
      require(blocks <= wave_.kv_blocks, "every row fits the KV memory");
      if (blocks > free_blocks_) return;
      free_blocks_ -= blocks;
      active_.push_back({row, 0, 0, blocks});
      ++next_;
    }
  }

  void pass() {
    int64_t budget = wave_.token_budget;
    for (const Active& row : active_) budget -= row.generated > 0 ? 1 : 0;
    PassShape shape;
    int64_t prompt_tokens = 0;
    for (Active& row : active_) {
      const bool decodes = row.generated > 0;
      const int64_t tokens = decodes ? 1 : std::min(budget, row.row.prompt - row.computed);
      if (tokens == 0) continue;
      if (!decodes) budget -= tokens, prompt_tokens += tokens;
      const bool draws = decodes || row.computed + tokens == row.row.prompt;
      shape.add_row(row.computed, tokens, draws);
      row.computed += tokens;
      row.generated += draws ? 1 : 0;
    }
    if (wave_.scored) shape.logit_rows = shape.tokens;
    count(shape, prompt_tokens);
    std::erase_if(active_, [this](const Active& row) {
      const bool ended = row.generated >= row.row.generated;
      if (ended) free_blocks_ += row.blocks;
      return ended;
    });
  }

  void count(const PassShape& shape, int64_t prompt_tokens) {
    const PassPrediction& pass = predict(rounded(shape));
    job_.seconds += pass.seconds;
    job_.busy += pass.busy;
    job_.weights_stall_seconds += pass.weights_stall_seconds;
    job_.kv_stall_seconds += pass.kv_stall_seconds;
    job_.most_rows = std::max(job_.most_rows, shape.rows);
    (prompt_tokens > 0 ? job_.prefill_seconds : job_.decode_seconds) += pass.seconds;
    (prompt_tokens > 0 ? job_.prefill_passes : job_.decode_passes) += 1;
    if (prompt_tokens > 0) return;
    job_.decode_busy += pass.busy;
    decoded_ += shape.tokens;
    job_.decode_tokens_per_second = static_cast<double>(decoded_) / job_.decode_seconds;
    if (shape.rows <= job_.decode_shape.rows) return;
    job_.decode_shape = shape;
    job_.decode_pass = pass;
  }

  const PassPrediction& predict(const PassShape& shape) {
    const auto found = passes_.find(shape);
    if (found != passes_.end()) return found->second;
    return passes_.emplace(shape, simulator_.pass(shape)).first->second;
  }

  const Simulator& simulator_;
  const SimulatedWave& wave_;
  const std::vector<RowTokens>& rows_;
  int64_t free_blocks_;
  size_t next_ = 0;
  std::vector<Active> active_;
  std::map<PassShape, PassPrediction> passes_;
  JobPrediction job_;
  int64_t decoded_ = 0;
};

void scale(JobPrediction& job, double factor) {
  for (double* value : {&job.seconds, &job.prefill_seconds, &job.decode_seconds, &job.prompt_tokens,
                        &job.generated_tokens, &job.weights_stall_seconds, &job.kv_stall_seconds})
    *value *= factor;
  for (int64_t* passes : {&job.prefill_passes, &job.decode_passes})
    *passes = std::llround(static_cast<double>(*passes) * factor);
  job.busy = job.busy * factor;
  job.decode_busy = job.decode_busy * factor;
}

}  // namespace

std::vector<RowTokens> spread_rows(const Workload& workload, int64_t count) {
  const auto longest_prompt = static_cast<double>(workload.longest_prompt_tokens);
  const int64_t longest = workload.longest_row_tokens;
  const auto longest_new = static_cast<double>(longest - workload.longest_prompt_tokens);
  std::vector<RowTokens> rows;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t prompt = spread(workload.mean_prompt_tokens, longest_prompt, i, kGolden);
    const int64_t made = spread(workload.mean_new_tokens, longest_new, i, kPlastic);
    rows.push_back({prompt, std::clamp<int64_t>(longest - prompt, 1, made)});
  }
  return rows;
}

JobPrediction simulate_rows(const Simulator& simulator, const SimulatedWave& wave,
                            const std::vector<RowTokens>& rows) {
  return JobClock(simulator, wave, rows).run();
}

JobPrediction simulate_job(const Simulator& simulator, const SimulatedWave& wave,
                           const Workload& workload) {
  const int64_t most = kWaves * wave.max_sequences;
  const int64_t count = workload.rows == 0 ? most : std::min(workload.rows, most);
  JobPrediction job = simulate_rows(simulator, wave, spread_rows(workload, count));
  if (workload.rows > count)
    scale(job, static_cast<double>(workload.rows) / static_cast<double>(count));
  return job;
}

}  // namespace zerostream
