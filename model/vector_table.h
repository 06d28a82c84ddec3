// Where a model's vectors lie in device memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "model/weights.h"

namespace zerostream {

// Looks up a vector by role and layer. The memory belongs to somebody else and must outlive this.
class VectorTable {
 public:
  explicit VectorTable(int32_t num_layers)
      : pointers_(static_cast<size_t>(num_layers + 1) * kRoles, nullptr) {}
  void set(VectorRole role, int32_t layer, const float* data) {
    pointers_[index(role, layer)] = data;
  }
  // Null when the model has no such vector.
  const float* get(VectorRole role, int32_t layer = kNoLayer) const {
    return pointers_[index(role, layer)];
  }

 private:
  static constexpr size_t kRoles = static_cast<size_t>(VectorRole::kHeadBias) + 1;
  static size_t index(VectorRole role, int32_t layer) {
    return static_cast<size_t>(layer + 1) * kRoles + static_cast<size_t>(role);
  }
  std::vector<const float*> pointers_;
};

}  // namespace zerostream
