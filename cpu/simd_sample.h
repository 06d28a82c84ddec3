// Vectorised passes over one row of scores, from which cpu/sample_row.cc is made.
#pragma once

#include <cstdint>
#include <limits>

#include "cpu/cpu_isa.h"

namespace zerostream {

// Weights are summed in chunks of so many ids.
inline constexpr int64_t kSampleChunk = 256;

// The largest of a row's scores; the lowest id among equals.
struct LargestScore {
  int32_t id = -1;
  float score = 0;
  bool usable = false;  // no score is NaN or +inf, and some score is finite
};

// Which ids have weight, and how much: exp((score - largest) / temperature), for those above
// `cut_score` or, with exactly that score, up to `cut_id`, if the exponent is at least
// `least_exponent`.
struct WeightRule {
  float largest = 0;
  float temperature = 1;
  float cut_score = -std::numeric_limits<float>::infinity();
  int32_t cut_id = -1;
  float least_exponent = -std::numeric_limits<float>::infinity();
};

struct SampleOps {
  LargestScore (*largest)(const float* scores, int64_t count);
  // Writes a weight for each id, 0 for those left out, and the sum of every chunk; returns the sum
  // of all.
  double (*weigh)(const float* scores, int64_t count, const WeightRule& rule, float* weights,
                  double* chunk_sums);
  // Appends the ids in [begin, end) whose score is above `threshold`, ascending; returns how many.
  int64_t (*select)(const float* scores, int64_t begin, int64_t end, float threshold, int32_t* ids);
};

const SampleOps& sample_ops(CpuIsa isa);

}  // namespace zerostream
