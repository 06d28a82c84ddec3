// Kernels that are plainly right.
#pragma once

#include "base/kernels.h"

namespace zerostream {

// The truth for tests of other kernels, see cpu/reference_ops.h: one thread, sums in double, no
// care for speed. Streams must be those of a CpuDevice.
class ReferenceKernels : public Kernels {
 public:
  void embed(const EmbedArgs& args, Stream& stream) override;
  void norm(const NormArgs& args, Stream& stream) override;
  void convert(const ConvertArgs& args, Stream& stream) override;
  void linear(const LinearArgs& args, Stream& stream) override;
  void write_kv(const WriteKvArgs& args, Stream& stream) override;
  void attention(const AttentionArgs& args, Stream& stream) override;
  void sample(const SampleArgs& args, Stream& stream) override;
  void accumulate_softmax(const AccumulateSoftmaxArgs& args, Stream& stream) override;
};

}  // namespace zerostream
