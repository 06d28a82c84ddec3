// How the next token of a row is chosen.
#pragma once

#include <cstdint>

namespace zerostream {

// Numbers of a row's sampling, already checked: temperature >= 0 (0: greedy, the lowest id wins a
// tie), top_k >= 0 (0: off), 0 < top_p <= 1, 0 <= min_p <= 1, repetition_penalty > 0.
//
// Order, as in HF generate: repetition penalty over prompt and output tokens (positive logits
// divided, negative multiplied), presence and frequency penalties over output tokens (subtracted),
// banned tokens to -inf, temperature, top-k, top-p (smallest set of highest probabilities that
// reaches top_p, at least one), min-p (relative to the largest), then one draw from what is left.
struct SamplingNumbers {
  float temperature = 0;
  int32_t top_k = 0;
  float top_p = 1;
  float min_p = 0;
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  int32_t logprobs = -1;  // -1: none; N: the token's own and the N largest
};

// Device memory behind the pointers, as for all kernels.
struct SampleRow {
  SamplingNumbers numbers;
  uint64_t seed = 0;                // of (job seed, row): see draw_uniform
  int32_t position = 0;             // of the token to be drawn, counted from the row's first token
  const int32_t* tokens = nullptr;  // the row's prompt and output so far
  int32_t prompt_tokens = 0;
  int32_t num_tokens = 0;
  const int32_t* banned = nullptr;  // ids that must not come (EOS before min_new_tokens)
  int32_t num_banned = 0;
};

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;
};

// Log-probabilities are natural logarithms of the softmax of the raw logits, before penalties and
// temperature.
struct SampleResult {
  static constexpr int32_t kMaxTop = 20;
  int32_t token = -1;
  bool finite =
      true;  // false: a logit of the row was NaN or +inf, or none was finite; no token was chosen
  float logprob = 0;  // of `token`, if asked for
  int32_t num_top = 0;
  TokenLogprob top[kMaxTop];
};

// The uniform number in [0, 1) that draws the token at `position` of a row: a function of its
// arguments alone, so that text never depends on batch, order, ranks or resume. (splitmix64
// finaliser over both.)
constexpr double draw_uniform(uint64_t seed, int32_t position) {
  uint64_t x =
      seed + 0x9e3779b97f4a7c15ull * (static_cast<uint64_t>(static_cast<uint32_t>(position)) + 1);
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  x ^= x >> 31;
  return static_cast<double>(x >> 11) * 0x1p-53;
}

}  // namespace zerostream
