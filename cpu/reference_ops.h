// The operations of base/kernels.h as plain loops in double: short enough to be checked by eye,
// the truth that every backend is tested against.
#pragma once

#include "base/kernels.h"

namespace zerostream::reference {

// Each computes its operation on the calling thread, in host memory. Arguments must have passed
// check_args(). They may allocate.
void embed(const EmbedArgs& args);
void norm(const NormArgs& args);
void convert(const ConvertArgs& args);
void linear(const LinearArgs& args);
void write_kv(const WriteKvArgs& args);
void attention(const AttentionArgs& args);
void sample(const SampleArgs& args);
void accumulate_softmax(const AccumulateSoftmaxArgs& args);

}  // namespace zerostream::reference
