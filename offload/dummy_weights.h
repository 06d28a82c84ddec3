// Random weights, for measuring models whose checkpoint nobody wants to download.
#pragma once

#include "offload/weight_source.h"

namespace zerostream {

// Normal numbers with mean 0 and standard deviation 0.02; weights of norms are 1. A number depends
// on the tensor's name and on its place in it alone, so stores of any dtype and layout hold the
// same model, a tied head equals its embedding, and no two layers are alike. Rows are windows into
// one table of a million numbers: as fast as copying.
WeightSource dummy_weights();

}  // namespace zerostream
