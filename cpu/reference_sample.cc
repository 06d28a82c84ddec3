#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <vector>

#include "cpu/reference_ops.h"

namespace zerostream::reference {
namespace {

using Scores = std::vector<float>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// False if a score is NaN or +inf, or none is finite.
bool usable(const Scores& scores) {
  const bool broken =
      std::any_of(scores.begin(), scores.end(), [](float x) { return !(x < kInfinity); });
  return !broken && *std::max_element(scores.begin(), scores.end()) > -kInfinity;
}

// All ids, largest score first, lower id first among equals.
std::vector<int32_t> ranked(const Scores& scores) {
  std::vector<int32_t> ids(scores.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) {
    return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
  });
  return ids;
}

void penalise(Scores& scores, const SampleRow& row) {
  const SamplingNumbers& numbers = row.numbers;
  std::map<int32_t, int32_t> output_counts;  // of every token seen, 0 for those of the prompt alone
  for (int32_t i = 0; i < row.num_tokens; ++i) {
    const int32_t token = row.tokens[i];
    if (token >= 0 && token < static_cast<int32_t>(scores.size()))
      output_counts[token] += i >= row.prompt_tokens ? 1 : 0;
  }
  for (const auto& [token, count] : output_counts) {
    float& score = scores[static_cast<size_t>(token)];
    score = score > 0 ? score / numbers.repetition_penalty : score * numbers.repetition_penalty;
    score -= numbers.frequency_penalty * static_cast<float>(count);
    if (count > 0) score -= numbers.presence_penalty;
  }
  for (int32_t i = 0; i < row.num_banned; ++i)
    if (row.banned[i] >= 0 && row.banned[i] < static_cast<int32_t>(scores.size()))
      scores[static_cast<size_t>(row.banned[i])] = -kInfinity;
}

// exp((score - largest) / temperature) of the tokens that the filters leave, 0 for others.
std::vector<double> weights_left(const Scores& scores, const SamplingNumbers& numbers) {
  const std::vector<int32_t> order = ranked(scores);
  const auto score_of = [&](size_t rank) { return scores[static_cast<size_t>(order[rank])]; };
  std::vector<double> weights(scores.size(), 0.0);
  size_t left = scores.size();
  if (numbers.top_k > 0 && static_cast<size_t>(numbers.top_k) < left)
    for (left = static_cast<size_t>(numbers.top_k);
         left < scores.size() && score_of(left) == score_of(left - 1);)
      ++left;
  for (size_t rank = 0; rank < left; ++rank)
    weights[static_cast<size_t>(order[rank])] =
        std::exp((double{score_of(rank)} - score_of(0)) / numbers.temperature);
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  double before = 0;  // weight of the tokens with higher ranks
  for (size_t rank = 0; rank < left; ++rank) {
    double& weight = weights[static_cast<size_t>(order[rank])];
    const double own = weight;
    const bool reached = numbers.top_p < 1 && rank > 0 && before >= numbers.top_p * total;
    if (reached || own < numbers.min_p) weight = 0;
    before += own;
  }
  return weights;
}

int32_t draw(const std::vector<double>& weights, double uniform) {
  const double target = uniform * std::accumulate(weights.begin(), weights.end(), 0.0);
  double sum = 0;
  int32_t last = 0;
  for (size_t id = 0; id < weights.size(); ++id) {
    if (weights[id] <= 0) continue;
    last = static_cast<int32_t>(id);
    sum += weights[id];
    if (sum > target) break;
  }
  return last;
}

void write_logprobs(const Scores& logits, int32_t wanted, SampleResult& result) {
  const std::vector<int32_t> order = ranked(logits);
  const double largest = logits[static_cast<size_t>(order[0])];
  double total = 0;
  for (const float logit : logits) total += std::exp(logit - largest);
  const auto logprob = [&](int32_t id) {
    return static_cast<float>(logits[static_cast<size_t>(id)] - largest - std::log(total));
  };
  result.logprob = logprob(result.token);
  for (const int32_t id : order) {
    if (result.num_top >= std::min(wanted, SampleResult::kMaxTop)) return;
    if (logits[static_cast<size_t>(id)] == -kInfinity) return;
    result.top[result.num_top++] = {id, logprob(id)};
  }
}

SampleResult sample_row(const Scores& logits, const SampleRow& row) {
  SampleResult result;
  Scores scores = logits;
  penalise(scores, row);
  result.finite = usable(logits) && usable(scores);
  if (!result.finite) return result;
  result.token = row.numbers.temperature > 0
                     ? draw(weights_left(scores, row.numbers), draw_uniform(row.seed, row.position))
                     : ranked(scores)[0];
  if (row.numbers.logprobs >= 0) write_logprobs(logits, row.numbers.logprobs, result);
  return result;
}

}  // namespace

void sample(const SampleArgs& args) {
  for (int64_t i = 0; i < args.logits.rows; ++i) {
    const float* logits = args.logits.row_as<float>(i);
    args.results[i] = sample_row({logits, logits + args.logits.cols}, args.rows[i]);
  }
}

}  // namespace zerostream::reference
