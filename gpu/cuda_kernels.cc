#include "gpu/cuda_kernels.h"

#include "base/kernel_checks.h"
#include "base/require.h"
#include "gpu/launchers.h"

namespace zerostream {
namespace {

CudaStream& cuda_stream_of(Stream& stream) {
  auto* cuda_stream = dynamic_cast<CudaStream*>(&stream);
  require(cuda_stream != nullptr, "the stream is one of a CUDA device");
  return *cuda_stream;
}

template <typename Args>
void checked(const Args& args, Stream& stream, void (*launch)(const Args&, CudaStream&)) {
  check_args(args);
  launch(args, cuda_stream_of(stream));
}

}  // namespace

CudaKernels::CudaKernels(CudaDevice& device, const KernelLimits& limits)
    : max_vocabulary_(limits.max_vocabulary),
      scores_(device.allocate(kGpuSampleBlocks * max_vocabulary_ * int64_t{sizeof(float)})),
      counts_(device.allocate(kGpuSampleBlocks * max_vocabulary_ * int64_t{sizeof(int32_t)})),
      partials_(device.allocate(kGpuPartialFloats * int64_t{sizeof(float)})),
      row_products_(device, limits),
      unpacked_products_(device, row_products_, limits.unpack_bytes) {}

void CudaKernels::embed(const EmbedArgs& args, Stream& stream) {
  checked(args, stream, launch_embed);
}

void CudaKernels::norm(const NormArgs& args, Stream& stream) { checked(args, stream, launch_norm); }

void CudaKernels::convert(const ConvertArgs& args, Stream& stream) {
  checked(args, stream, launch_convert);
}

void CudaKernels::linear(const LinearArgs& args, Stream& stream) {
  require(!args.int8_activations, "activations on a GPU are not quantised");
  check_args(args);
  CudaStream& cuda_stream = cuda_stream_of(stream);
  const bool tiles = args.weight.layout == WeightLayout::kTile64;
  if (unpacked_products_.takes(args))
    unpacked_products_.multiply(args, cuda_stream);
  else if (tiles && args.source.dtype != DType::kF32)
    launch_linear_tensor(args, cuda_stream);
  else if (tiles || !row_products_.multiply(args, cuda_stream))
    launch_linear(args, cuda_stream);
}

void CudaKernels::write_kv(const WriteKvArgs& args, Stream& stream) {
  checked(args, stream, launch_write_kv);
}

void CudaKernels::attention(const AttentionArgs& args, Stream& stream) {
  if (!takes_tensor_attention(args)) return checked(args, stream, launch_attention);
  check_args(args);
  launch_attention_tensor(args, {partials_.as<float>(), kGpuPartialFloats}, cuda_stream_of(stream));
}

void CudaKernels::sample(const SampleArgs& args, Stream& stream) {
  check_args(args);
  launch_sample(args, {scores_.as<float>(), counts_.as<int32_t>(), max_vocabulary_},
                cuda_stream_of(stream));
}

void CudaKernels::accumulate_softmax(const AccumulateSoftmaxArgs& args, Stream& stream) {
  checked(args, stream, launch_accumulate_softmax);
}

}  // namespace zerostream
