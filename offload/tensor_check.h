// Whether a checkpoint holds what a model needs.
#pragma once

#include "model/checkpoint.h"
#include "model/weights.h"

namespace zerostream {

// Throws one CheckpointError that lists every tensor that is missing, has another shape than the
// config asks for, or is left over; tensors that differ only in their layer share a line
// ("model.layers.{0-31}.mlp.up_proj.weight"). Only the copy of a tied head may be left over.
void check_tensors(const Checkpoint& checkpoint, const WeightSpecs& specs);

}  // namespace zerostream
