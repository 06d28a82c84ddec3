// The operations of base/kernels.h on a GPU. Each enqueues its kernels; arguments must have passed
// check_args(). They throw InternalError for what kernels here do not take.
#pragma once

#include "base/kernel_limits.h"
#include "base/kernels.h"
#include "gpu/cuda_stream.h"

namespace zerostream {

// Most columns of a head.
inline constexpr int32_t kMaxHeadDim = 256;

// What blocks of sample() work in: one such array of max_vocabulary for each of kGpuSampleBlocks.
struct SampleScratch {
  float* scores = nullptr;
  int32_t* counts = nullptr;
  int64_t max_vocabulary = 0;
};

// Where attention of few rows leaves what it has of each piece of the positions.
struct AttentionScratch {
  float* partials = nullptr;
  int64_t floats = 0;
};

void launch_embed(const EmbedArgs& args, CudaStream& stream);
void launch_norm(const NormArgs& args, CudaStream& stream);
void launch_convert(const ConvertArgs& args, CudaStream& stream);
// In fp32 arithmetic; a quantised weight for an fp32 source.
void launch_linear(const LinearArgs& args, CudaStream& stream);
// On tensor cores: a weight in tiles, a source of 16 bits.
void launch_linear_tensor(const LinearArgs& args, CudaStream& stream);
// A weight in tiles as rows of 16 bits, one for each output of each panel, of the inputs rounded up
// to 32; floats keep their type. What lies there for padding is what the tiles hold there.
void launch_unpack(const PackedWeight& weight, const TensorView& target, CudaStream& stream);
// The target of a product whose sums [rows, outputs], fp32, are there.
void launch_epilogue(const LinearArgs& args, const TensorView& sums, CudaStream& stream);
void launch_write_kv(const WriteKvArgs& args, CudaStream& stream);
// In fp32 arithmetic, any head of at most kMaxHeadDim columns.
void launch_attention(const AttentionArgs& args, CudaStream& stream);
// On tensor cores: what takes_tensor_attention() says.
void launch_attention_tensor(const AttentionArgs& args, const AttentionScratch& scratch,
                             CudaStream& stream);
bool takes_tensor_attention(const AttentionArgs& args);
void launch_sample(const SampleArgs& args, const SampleScratch& scratch, CudaStream& stream);
void launch_accumulate_softmax(const AccumulateSoftmaxArgs& args, CudaStream& stream);

}  // namespace zerostream
