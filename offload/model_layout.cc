#include "offload/model_layout.h"

namespace zerostream {

PackedWeight StoredMatrix::weight(const std::byte* segment) const {
  PackedWeight weight;
  weight.data = segment == nullptr ? nullptr : segment + offset;
  weight.dtype = dtype;
  weight.layout = layout;
  weight.outputs = gated ? 2 * round_up(outputs, kPanelOutputs) : outputs;
  weight.inputs = inputs;
  weight.group_size = group_size;
  weight.has_zeros = has_zeros;
  return weight;
}

bool is_embedding(const Segment& segment) {
  return !segment.matrices.empty() &&
         (segment.matrices.front().role == MatrixRole::kTokenEmbedding ||
          segment.matrices.front().role == MatrixRole::kPositionEmbedding);
}

int64_t ModelLayout::weights_bytes() const {
  int64_t bytes = 0;
  for (const Segment& segment : segments) bytes += segment.bytes;
  return bytes;
}

}  // namespace zerostream
