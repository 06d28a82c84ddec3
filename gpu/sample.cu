// Choosing the next token of a row: a block for each, with scratch of its own.
//
// Weights are exp((score - largest) / temperature) as multiples of 2^-40, so that their sums are
// exact.
#include "base/require.h"
#include "gpu/best_score.cuh"
#include "gpu/block_search.cuh"
#include "gpu/launchers.h"

namespace zerostream {
namespace {

constexpr int kThreads = 256;
constexpr float kWeightOne = 0x1p40f;

__device__ bool changes_scores(const SamplingNumbers& numbers) {
  return numbers.repetition_penalty != 1 || numbers.presence_penalty != 0 ||
         numbers.frequency_penalty != 0;
}

// Counts of the row's tokens: 1 for one that was seen, and 2 for each time in the output.
__device__ void count_tokens(const SampleRow& row, int32_t vocabulary, int32_t* counts) {
  for (int32_t i = threadIdx.x; i < row.num_tokens; i += kThreads)
    if (row.tokens[i] >= 0 && row.tokens[i] < vocabulary) atomicExch(&counts[row.tokens[i]], 0);
  __syncthreads();
  for (int32_t i = threadIdx.x; i < row.num_tokens; i += kThreads) {
    if (row.tokens[i] < 0 || row.tokens[i] >= vocabulary) continue;
    atomicOr(&counts[row.tokens[i]], 1);
    if (i >= row.prompt_tokens) atomicAdd(&counts[row.tokens[i]], 2);
  }
  __syncthreads();
}

__device__ float penalised(float score, const SamplingNumbers& numbers, int32_t in_output) {
  score = score > 0 ? score / numbers.repetition_penalty : score * numbers.repetition_penalty;
  score -= numbers.frequency_penalty * static_cast<float>(in_output);
  return in_output > 0 ? score - numbers.presence_penalty : score;
}

// The logits themselves, or in scratch those with penalties and bans.
__device__ const float* scores_of(const float* logits, int32_t vocabulary, const SampleRow& row,
                                  float* scores, int32_t* counts) {
  const bool penalties = changes_scores(row.numbers);
  if (!penalties && row.num_banned == 0) return logits;
  for (int32_t id = threadIdx.x; id < vocabulary; id += kThreads) scores[id] = logits[id];
  __syncthreads();
  if (penalties) {
    count_tokens(row, vocabulary, counts);
    for (int32_t i = threadIdx.x; i < row.num_tokens; i += kThreads) {
      const int32_t token = row.tokens[i];
      if (token < 0 || token >= vocabulary) continue;
      const int32_t count = atomicExch(&counts[token], 0);  // one of equal tokens finds it
      if (count != 0) scores[token] = penalised(scores[token], row.numbers, count / 2);
    }
  }
  __syncthreads();
  for (int32_t i = threadIdx.x; i < row.num_banned; i += kThreads)
    if (row.banned[i] >= 0 && row.banned[i] < vocabulary)
      atomicExch(&scores[row.banned[i]], -INFINITY);
  __syncthreads();
  return scores;
}

// Tokens that the filters leave: those with higher keys than `key`, and with that key those up to
// id `last`.
struct Kept {
  uint32_t key = 0;
  int32_t last = 0x7fffffff;
  float least = 0;  // of exp((score - largest) / temperature)
};

struct Weights {
  const float* scores;
  float largest;
  float temperature;
  Kept kept;

  __device__ unsigned long long operator()(int32_t id) const {
    const uint32_t key = ordered_key(scores[id]);
    if (key < kept.key || (key == kept.key && id > kept.last)) return 0;
    const float weight = expf((scores[id] - largest) / temperature);
    return weight < kept.least ? 0 : static_cast<unsigned long long>(weight * kWeightOne);
  }
};

__device__ void keep_top_p(Weights& weights, int32_t vocabulary, float top_p) {
  const auto wanted = static_cast<unsigned long long>(
      ceil(double{top_p} * static_cast<double>(total_amount<kThreads>(vocabulary, weights))));
  const Threshold reached = find_threshold<kThreads>(weights.scores, vocabulary, wanted, weights);
  const auto at_key = [&](int32_t id) -> unsigned long long {
    return ordered_key(weights.scores[id]) == reached.key ? weights(id) : 0;
  };
  weights.kept.last = find_in_order<kThreads>(vocabulary, wanted - reached.above, at_key);
  weights.kept.key = reached.key;
}

__device__ int32_t draw(const float* scores, int32_t vocabulary, float largest,
                        const SampleRow& row) {
  Weights weights = {scores, largest, row.numbers.temperature, {}};
  if (row.numbers.top_k > 0 && row.numbers.top_k < vocabulary) {
    const auto one = [](int32_t) { return 1ull; };
    weights.kept.key =
        find_threshold<kThreads>(scores, vocabulary,
                                 static_cast<unsigned long long>(row.numbers.top_k), one)
            .key;
  }
  if (row.numbers.top_p < 1) keep_top_p(weights, vocabulary, row.numbers.top_p);
  weights.kept.least = row.numbers.min_p;
  const auto total = total_amount<kThreads>(vocabulary, weights);
  auto before = static_cast<unsigned long long>(draw_uniform(row.seed, row.position) *
                                                static_cast<double>(total));
  if (before >= total) before = total - 1;  // rounded up
  return find_in_order<kThreads>(vocabulary, before + 1, weights);
}

__device__ void write_logprobs(const float* logits, int32_t vocabulary, float largest,
                               int32_t token, int32_t wanted, SampleResult& result) {
  double sum = 0;
  for (int32_t id = threadIdx.x; id < vocabulary; id += kThreads) sum += expf(logits[id] - largest);
  const double log_total = log(block_sum<kThreads>(sum)) + double{largest};
  if (threadIdx.x == 0) result.logprob = static_cast<float>(logits[token] - log_total);
  if (wanted > SampleResult::kMaxTop) wanted = SampleResult::kMaxTop;
  BestScore best = {INFINITY, -1, true};
  for (int32_t i = 0; i < wanted; ++i) {
    best = best_score<kThreads>(logits, vocabulary, best);
    if (best.id < 0) return;
    if (threadIdx.x != 0) continue;
    result.top[i].token = best.id;
    result.top[i].logprob = static_cast<float>(best.score - log_total);
    result.num_top = i + 1;
  }
}

__device__ void sample_one(const float* logits, int32_t vocabulary, const SampleRow& row,
                           float* scratch, int32_t* counts, SampleResult& result) {
  const float* scores = scores_of(logits, vocabulary, row, scratch, counts);
  const BestScore raw = best_score<kThreads>(logits, vocabulary);
  const BestScore best = best_score<kThreads>(scores, vocabulary);
  const bool finite = raw.usable && best.usable && raw.id >= 0 && best.id >= 0;
  int32_t token = -1;
  if (finite)
    token = row.numbers.temperature > 0 ? draw(scores, vocabulary, best.score, row) : best.id;
  if (threadIdx.x == 0) {
    result.token = token;
    result.finite = finite;
    result.logprob = 0;
    result.num_top = 0;
  }
  if (finite && row.numbers.logprobs >= 0)
    write_logprobs(logits, vocabulary, raw.score, token, row.numbers.logprobs, result);
}

__global__ void __launch_bounds__(kThreads, 2) sample_rows(SampleArgs args, SampleScratch scratch) {
  float* scores = scratch.scores + blockIdx.x * scratch.max_vocabulary;
  int32_t* counts = scratch.counts + blockIdx.x * scratch.max_vocabulary;
  for (int64_t row = blockIdx.x; row < args.logits.rows; row += gridDim.x) {
    sample_one(row_of<float>(args.logits, row), static_cast<int32_t>(args.logits.cols),
               args.rows[row], scores, counts, args.results[row]);
    __syncthreads();
  }
}

}  // namespace

// --------------------------------------------------------------------------------------------------

void launch_sample(const SampleArgs& args, const SampleScratch& scratch, CudaStream& stream) {
  require(args.logits.cols <= scratch.max_vocabulary, "a row has at most max_vocabulary logits");
  if (args.logits.rows == 0) return;
  const int64_t blocks = args.logits.rows < kGpuSampleBlocks ? args.logits.rows : kGpuSampleBlocks;
  stream.launch("sample", static_cast<unsigned>(blocks), kThreads, sample_rows, args, scratch);
}

}  // namespace zerostream
