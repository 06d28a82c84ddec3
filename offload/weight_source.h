// Where a pack gets its numbers from.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "model/checkpoint.h"
#include "model/weights.h"

namespace zerostream {

// Two functions that give fp32. Threads: both from any number at once; what they refer to must
// outlive them.
struct WeightSource {
  // Outputs [begin, begin + rows) of a source, counted from its row_begin, each of `inputs`
  // numbers; target: [rows, inputs]. A transposed source costs one reading of its whole tensor per
  // call.
  std::function<void(const SourceTensor& source, int64_t inputs, int64_t begin, int64_t rows,
                     float* target)>
      read_rows;
  // All of a vector's source.
  std::function<void(VectorRole role, const SourceTensor& source, float* target)> read_vector;
};

// The tensors must have been checked (tensor_check.h).
WeightSource checkpoint_weights(const Checkpoint& checkpoint);

// Outputs [begin, begin + rows) of the sources one below the other; those without a name are zeros.
void read_outputs(const WeightSource& weights, std::span<const SourceTensor> sources,
                  int64_t inputs, int64_t begin, int64_t rows, float* target);

}  // namespace zerostream
