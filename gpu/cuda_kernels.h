// The operations of a model on a GPU.
#pragma once

#include "base/buffer.h"
#include "base/kernel_limits.h"
#include "base/kernels.h"
#include "gpu/cuda_device.h"
#include "gpu/row_products.h"
#include "gpu/unpacked_products.h"

namespace zerostream {

// Kernels for streams of CUDA devices. Products of 16-bit sources with weights in tiles, and
// attention over cells of 8 or 16 bits, run on tensor cores, products with weights in rows in
// cuBLASLt, products of many rows there too where limits.unpack_bytes lets them; all else in fp32
// arithmetic. What they do not take throws InternalError at the call: int8 activations, heads of
// more than 256 columns, sampling from more than limits.max_vocabulary logits.
//
// Holds gpu_scratch_bytes(limits) of device memory; the device must outlive it. No call
// allocates, copies or waits. Only one stream at a time may use one.
class CudaKernels : public Kernels {
 public:
  // Throws what CudaDevice::allocate() does.
  CudaKernels(CudaDevice& device, const KernelLimits& limits);

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
  const Buffer partials_;
  RowProducts row_products_;
  UnpackedProducts unpacked_products_;
};

}  // namespace zerostream
