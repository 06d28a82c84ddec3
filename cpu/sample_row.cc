#include "cpu/sample_row.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace zerostream {
namespace {

constexpr int64_t kSelectedAtOnce = 1024;
// Of scores below the largest, for top-p: the first 16 (in units of the temperature) in steps of
// 1/64, the last bucket takes the rest.
constexpr size_t kBuckets = 1024;
constexpr float kBucketsPerE = 64;

// Ranks ids: higher scores first, then lower ids.
struct Higher {
  const float* scores;
  bool operator()(int32_t a, int32_t b) const {
    return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
  }
};

// The scores of one row and the passes over them.
class Row {
 public:
  Row(const float* scores, int64_t count, const SampleOps& ops, const SampleScratch& scratch)
      : scores_(scores), count_(count), ops_(ops), scratch_(scratch) {}

  // The `wanted` highest ids into scratch.ids(), in no order but with the last of them last;
  // returns how many there are (fewer where scores are -inf).
  int64_t find_highest(int64_t wanted) const;
  void sort_found(int64_t found) const {
    std::sort(scratch_.ids(), scratch_.ids() + found, Higher{scores_});
  }
  // Narrows the rule to the top-k and top-p sets.
  void keep_top_k(int64_t top_k, WeightRule& rule) const;
  void keep_top_p(float top_p, WeightRule& rule) const;
  double weigh(const WeightRule& rule) const {
    return ops_.weigh(scores_, count_, rule, scratch_.weights(), scratch_.chunk_sums());
  }
  // The id at which the running sum of the weights last computed exceeds `target`.
  int32_t find_drawn(double target) const;

 private:
  // Of the weights last computed.
  double sum_of(const int32_t* begin, const int32_t* end) const;
  // The id at which the running sum of those weights, by descending rank, reaches `target`.
  int32_t find_reaching(int32_t* begin, int32_t* end, double target) const;

  const float* scores_;
  int64_t count_;
  const SampleOps& ops_;
  const SampleScratch& scratch_;
};

int64_t Row::find_highest(int64_t wanted) const {
  int32_t* ids = scratch_.ids();
  int64_t found = 0;
  float threshold = -std::numeric_limits<float>::infinity();
  const auto prune = [&] {
    std::nth_element(ids, ids + wanted - 1, ids + found, Higher{scores_});
    found = wanted;
    threshold = scores_[ids[wanted - 1]];
  };
  for (int64_t begin = 0; begin < count_; begin += kSelectedAtOnce) {
    const int64_t end = std::min(begin + kSelectedAtOnce, count_);
    found += ops_.select(scores_, begin, end, threshold, ids + found);
    if (found >= 2 * wanted + kSelectedAtOnce) prune();
  }
  if (found >= wanted) prune();
  return found;
}

void Row::keep_top_k(int64_t top_k, WeightRule& rule) const {
  if (top_k <= 0 || top_k >= count_ || find_highest(top_k) < top_k) return;
  rule.cut_score = scores_[scratch_.ids()[top_k - 1]];
  rule.cut_id = static_cast<int32_t>(count_);
}

// Sums the weights by buckets of falling scores and looks closer only at the bucket in which the
// target is reached.
void Row::keep_top_p(float top_p, WeightRule& rule) const {
  if (top_p >= 1) return;
  const double target = double{top_p} * weigh(rule);
  const float* weights = scratch_.weights();
  const auto bucket_of = [&](int64_t id) {
    const float below = (rule.largest - scores_[id]) / rule.temperature;
    return static_cast<size_t>(std::min(kBuckets - 1.0f, below * kBucketsPerE));
  };
  std::array<double, kBuckets> sums = {};
  for (int64_t id = 0; id < count_; ++id) sums[bucket_of(id)] += double{weights[id]};

  size_t last = kBuckets - 1;  // with any weight: rounding may leave the target unreached
  while (sums[last] <= 0) --last;
  size_t reached = 0;
  double before = 0;
  while (reached < last && before + sums[reached] < target) before += sums[reached++];
  int32_t* ids = scratch_.ids();
  int64_t found = 0;
  for (int64_t id = 0; id < count_; ++id) {
    ids[found] = static_cast<int32_t>(id);
    found += bucket_of(id) == reached && weights[id] > 0 ? 1 : 0;
  }
  rule.cut_id = find_reaching(ids, ids + found, target - before);
  rule.cut_score = scores_[rule.cut_id];
}

double Row::sum_of(const int32_t* begin, const int32_t* end) const {
  double sum = 0;
  for (; begin < end; ++begin) sum += double{scratch_.weights()[*begin]};
  return sum;
}

int32_t Row::find_reaching(int32_t* begin, int32_t* end, double target) const {
  while (end - begin > 1) {
    int32_t* middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end, Higher{scores_});
    const double higher = sum_of(begin, middle);
    if (higher >= target) {
      end = middle;
    } else {
      target -= higher;
      begin = middle;
    }
  }
  return *begin;
}

int32_t Row::find_drawn(double target) const {
  const double* sums = scratch_.chunk_sums();
  const float* weights = scratch_.weights();
  const int64_t chunks = (count_ + kSampleChunk - 1) / kSampleChunk;
  int64_t last = 0;  // last chunk with any weight: rounding may leave the target unreached
  double before = 0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    if (sums[chunk] <= 0) continue;
    last = chunk;
    if (before + sums[chunk] > target) break;
    before += sums[chunk];
  }
  int64_t drawn = last * kSampleChunk;
  for (int64_t id = drawn; id < std::min((last + 1) * kSampleChunk, count_); ++id) {
    if (weights[id] <= 0) continue;
    drawn = id;
    before += double{weights[id]};
    if (before > target) break;
  }
  return static_cast<int32_t>(drawn);
}

bool in_vocabulary(int32_t token, int64_t vocabulary) { return token >= 0 && token < vocabulary; }

// The row's logits, or a copy with penalties and bans if it has any.
const float* penalised(const float* logits, int64_t vocabulary, const SampleRow& row,
                       const SampleScratch& scratch) {
  const SamplingNumbers& numbers = row.numbers;
  const bool penalties = numbers.repetition_penalty != 1 || numbers.presence_penalty != 0 ||
                         numbers.frequency_penalty != 0;
  if (!penalties && row.num_banned == 0) return logits;
  float* scores = scratch.scores();
  std::copy(logits, logits + vocabulary, scores);
  int32_t* counts = scratch.counts();  // 1 for a token seen, and 2 for each time in the output
  const int32_t num_tokens = penalties ? row.num_tokens : 0;
  for (int32_t i = 0; i < num_tokens; ++i) {
    if (!in_vocabulary(row.tokens[i], vocabulary)) continue;
    int32_t& count = counts[row.tokens[i]];
    count = (count | 1) + (i >= row.prompt_tokens ? 2 : 0);
  }
  for (int32_t i = 0; i < num_tokens; ++i) {
    const int32_t token = row.tokens[i];
    if (!in_vocabulary(token, vocabulary) || counts[token] == 0) continue;
    const int32_t in_output = counts[token] / 2;
    counts[token] = 0;
    float& score = scores[token];
    score = score > 0 ? score / numbers.repetition_penalty : score * numbers.repetition_penalty;
    score -= numbers.frequency_penalty * static_cast<float>(in_output);
    if (in_output > 0) score -= numbers.presence_penalty;
  }
  for (int32_t i = 0; i < row.num_banned; ++i)
    if (in_vocabulary(row.banned[i], vocabulary))
      scores[row.banned[i]] = -std::numeric_limits<float>::infinity();
  return scores;
}

int32_t draw(const Row& scores, const SampleRow& row, float largest) {
  WeightRule rule;
  rule.largest = largest;
  rule.temperature = row.numbers.temperature;
  scores.keep_top_k(row.numbers.top_k, rule);
  scores.keep_top_p(row.numbers.top_p, rule);
  if (row.numbers.min_p > 0) rule.least_exponent = std::log(row.numbers.min_p);
  const double total = scores.weigh(rule);
  return scores.find_drawn(draw_uniform(row.seed, row.position) * total);
}

void write_logprobs(const float* logits, const Row& row, float largest, int32_t wanted,
                    const SampleScratch& scratch, SampleResult& result) {
  WeightRule rule;
  rule.largest = largest;
  const double log_total = std::log(row.weigh(rule));
  const auto logprob = [&](int32_t id) {
    return static_cast<float>(double{logits[id]} - double{largest} - log_total);
  };
  result.logprob = logprob(result.token);
  wanted = std::min(wanted, SampleResult::kMaxTop);
  if (wanted == 0) return;
  result.num_top = static_cast<int32_t>(row.find_highest(wanted));
  row.sort_found(result.num_top);
  for (int32_t i = 0; i < result.num_top; ++i)
    result.top[i] = {scratch.ids()[i], logprob(scratch.ids()[i])};
}

Buffer allocate_elements(int64_t count, int64_t bytes) { return allocate_host(count * bytes); }

}  // namespace

SampleScratch::SampleScratch(int64_t max_vocabulary)
    : max_vocabulary_(max_vocabulary),
      scores_(allocate_elements(max_vocabulary, sizeof(float))),
      weights_(allocate_elements(max_vocabulary, sizeof(float))),
      chunk_sums_(allocate_elements(max_vocabulary / kSampleChunk + 1, sizeof(double))),
      ids_(allocate_elements(max_vocabulary, sizeof(int32_t))),
      counts_(allocate_elements(max_vocabulary, sizeof(int32_t))) {}

void sample_row(const float* logits, int64_t vocabulary, const SampleRow& row, const SampleOps& ops,
                const SampleScratch& scratch, SampleResult& result) {
  result = {};
  const LargestScore raw = ops.largest(logits, vocabulary);
  const float* scores = penalised(logits, vocabulary, row, scratch);
  const LargestScore best = scores == logits ? raw : ops.largest(scores, vocabulary);
  result.finite = raw.usable && best.usable;
  if (!result.finite) return;
  result.token = row.numbers.temperature > 0
                     ? draw(Row(scores, vocabulary, ops, scratch), row, best.score)
                     : best.id;
  if (row.numbers.logprobs >= 0)
    write_logprobs(logits, Row(logits, vocabulary, ops, scratch), raw.score, row.numbers.logprobs,
                   scratch, result);
}

}  // namespace zerostream
