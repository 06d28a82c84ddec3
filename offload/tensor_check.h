// Whether a checkpoint holds what a model needs.
#pragma once

#include "model/checkpoint.h"
#include "model/weights.h"

namespace zerostream {

// Throws one CheckpointError that lists every tensor that is missing, has another shape than the
// config asks for, or is left over. Only the copy of a tied head may be left over.
void check_tensors(const Checkpoint& checkpoint, const WeightSpecs& specs);

}  // namespace zerostream
