// The operations of a model on a GPU.
#pragma once

#include "base/buffer.h"
#include "base/kernels.h"
#include "gpu/cuda_device.h"

namespace zerostream {

// Kernels in fp32 arithmetic for streams of CUDA devices. What they do not take yet throws
// InternalError at the call: int8 activations, heads of more than 256 columns, sampling from more
// than `max_vocabulary` logits.
//
// Holds 256 bytes of device memory for each of max_vocabulary; the device must outlive it. No call
// allocates, copies or waits. Only one stream at a time may sample.
class CudaKernels : public Kernels {
 public:
  // Throws what CudaDevice::allocate() does.
  CudaKernels(CudaDevice& device, int64_t max_vocabulary);

  void embed(const EmbedArgs& args, Stream& stream) override;
  void norm(const NormArgs& args, Stream& stream) override;
  void convert(const ConvertArgs& args, Stream& stream) override;
  void linear(const LinearArgs& args, Stream& stream) override;
  void write_kv(const WriteKvArgs& args, Stream& stream) override;
  void attention(const AttentionArgs& args, Stream& stream) override;
  void sample(const SampleArgs& args, Stream& stream) override;
  void accumulate_softmax(const AccumulateSoftmaxArgs& args, Stream& stream) override;

 private:
  const int64_t max_vocabulary_;
  const Buffer scores_;
  const Buffer counts_;
};

}  // namespace zerostream
