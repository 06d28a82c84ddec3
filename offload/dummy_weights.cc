#include "offload/dummy_weights.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>
#include <vector>

#include "base/digest.h"
#include "base/sampling.h"

namespace zerostream {
namespace {

constexpr size_t kTableFloats = size_t{1} << 20;
constexpr double kStandardDeviation = 0.02;
constexpr uint64_t kSeed = 0x5eed;

// Box-Muller, two numbers at a time.
std::vector<float> normal_table() {
  std::vector<float> table(kTableFloats);
  for (size_t i = 0; i < table.size(); i += 2) {
    const double u = 1.0 - draw_uniform(kSeed, static_cast<int32_t>(i));
    const double angle = 2 * std::numbers::pi * draw_uniform(kSeed, static_cast<int32_t>(i + 1));
    const double radius = kStandardDeviation * std::sqrt(-2 * std::log(u));
    table[i] = static_cast<float>(radius * std::cos(angle));
    table[i + 1] = static_cast<float>(radius * std::sin(angle));
  }
  return table;
}

void copy_window(const std::vector<float>& table, size_t begin, int64_t count, float* target) {
  while (count > 0) {
    const int64_t run = std::min(count, static_cast<int64_t>(table.size() - begin));
    target = std::copy_n(table.data() + begin, run, target);
    count -= run;
    begin = 0;
  }
}

bool is_norm_weight(VectorRole role) {
  switch (role) {
    case VectorRole::kAttentionNormWeight:
    case VectorRole::kQueryNorm:
    case VectorRole::kKeyNorm:
    case VectorRole::kMlpNormWeight:
    case VectorRole::kFinalNormWeight:
      return true;
    default:
      return false;
  }
}

}  // namespace

WeightSource dummy_weights() {
  auto table = std::make_shared<const std::vector<float>>(normal_table());
  WeightSource weights;
  weights.read_rows = [table](const SourceTensor& source, int64_t inputs, int64_t begin,
                              int64_t rows, float* target) {
    const uint64_t seed = digest_of(source.name);
    for (int64_t row = 0; row < rows; ++row) {
      const double place = draw_uniform(seed, static_cast<int32_t>(source.row_begin + begin + row));
      copy_window(*table, static_cast<size_t>(place * kTableFloats), inputs, target + row * inputs);
    }
  };
  weights.read_vector = [read = weights.read_rows](VectorRole role, const SourceTensor& source,
                                                   float* target) {
    if (is_norm_weight(role)) {
      std::fill_n(target, source.rows, 1.0f);
    } else {
      read(source, source.rows, 0, 1, target);
    }
  };
  return weights;
}

}  // namespace zerostream
