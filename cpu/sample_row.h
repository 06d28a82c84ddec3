// Choosing the next token of one row on a processor.
#pragma once

#include <cstdint>

#include "base/buffer.h"
#include "base/sampling.h"
#include "cpu/simd_sample.h"

namespace zerostream {

// What one worker needs to sample rows of up to `max_vocabulary` logits: 16 bytes for each, taken
// at construction.
class SampleScratch {
 public:
  explicit SampleScratch(int64_t max_vocabulary);

  int64_t max_vocabulary() const { return max_vocabulary_; }
  float* scores() const { return scores_.as<float>(); }
  float* weights() const { return weights_.as<float>(); }
  double* chunk_sums() const { return chunk_sums_.as<double>(); }
  int32_t* ids() const { return ids_.as<int32_t>(); }
  // All 0 between rows.
  int32_t* counts() const { return counts_.as<int32_t>(); }

 private:
  int64_t max_vocabulary_;
  Buffer scores_, weights_, chunk_sums_, ids_, counts_;
};

// Samples as base/sampling.h says. What it leaves open:
// - Penalties and bans are fp32 arithmetic on the logits, in this order: repetition, frequency *
//   count, presence. Ids outside the vocabulary in `tokens` and `banned` are passed over.
// - Top-k keeps every token that ties with the k-th. Top-p ranks equal scores by ascending id.
// - Weights are exp((score - largest) / temperature) in fp32, summed in double by chunks of
//   kSampleChunk ids; the token drawn is the first, by ascending id, at which the running sum
//   exceeds draw_uniform() * total.
// - Scores that overflow, or bans that leave nothing, count as not finite.
// - Tokens of probability 0 are not among the N largest log-probabilities, of which there are at
//   most SampleResult::kMaxTop; equals rank by ascending id.
// Does not allocate.
void sample_row(const float* logits, int64_t vocabulary, const SampleRow& row, const SampleOps& ops,
                const SampleScratch& scratch, SampleResult& result);

}  // namespace zerostream
