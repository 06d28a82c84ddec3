#include "model/rope.h"

#include <cmath>

namespace zerostream {

void fill_rope(const RopeConfig& rope, int64_t position, float* cos, float* sin) {
  for (size_t i = 0; i < rope.inverse_frequencies.size(); ++i) {
    const float angle = static_cast<float>(position) * rope.inverse_frequencies[i];
    cos[i] = static_cast<float>(std::cos(static_cast<double>(angle))) * rope.attention_factor;
    sin[i] = static_cast<float>(std::sin(static_cast<double>(angle))) * rope.attention_factor;
  }
}

}  // namespace zerostream
