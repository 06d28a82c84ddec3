// What the arguments of every operation must hold, whatever computes it.
#pragma once

#include "base/kernels.h"

namespace zerostream {

// Each throws InternalError that names the broken rule: shapes that do not fit together, dtypes
// that the operation does not take, arrays that it needs and that are null. Arrays in device memory
// are not read.
void check_args(const EmbedArgs& args);
void check_args(const NormArgs& args);
void check_args(const ConvertArgs& args);
void check_args(const LinearArgs& args);
void check_args(const WriteKvArgs& args);
void check_args(const AttentionArgs& args);
void check_args(const SampleArgs& args);
void check_args(const AccumulateSoftmaxArgs& args);

}  // namespace zerostream
