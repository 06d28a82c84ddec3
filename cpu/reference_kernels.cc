#include "cpu/reference_kernels.h"

#include "base/kernel_checks.h"
#include "base/require.h"
#include "cpu/cpu_stream.h"
#include "cpu/reference_ops.h"

namespace zerostream {
namespace {

template <typename Args>
void enqueue(Stream& stream, const Args& args, void (*operation)(const Args&)) {
  check_args(args);
  auto* cpu_stream = dynamic_cast<CpuStream*>(&stream);
  require(cpu_stream != nullptr, "the stream is one of a CPU device");
  cpu_stream->enqueue([=] { operation(args); });
}

}  // namespace

void ReferenceKernels::embed(const EmbedArgs& args, Stream& stream) {
  enqueue(stream, args, reference::embed);
}

void ReferenceKernels::norm(const NormArgs& args, Stream& stream) {
  enqueue(stream, args, reference::norm);
}

void ReferenceKernels::convert(const ConvertArgs& args, Stream& stream) {
  enqueue(stream, args, reference::convert);
}

void ReferenceKernels::linear(const LinearArgs& args, Stream& stream) {
  enqueue(stream, args, reference::linear);
}

void ReferenceKernels::write_kv(const WriteKvArgs& args, Stream& stream) {
  enqueue(stream, args, reference::write_kv);
}

void ReferenceKernels::attention(const AttentionArgs& args, Stream& stream) {
  enqueue(stream, args, reference::attention);
}

void ReferenceKernels::sample(const SampleArgs& args, Stream& stream) {
  enqueue(stream, args, reference::sample);
}

void ReferenceKernels::accumulate_softmax(const AccumulateSoftmaxArgs& args, Stream& stream) {
  enqueue(stream, args, reference::accumulate_softmax);
}

}  // namespace zerostream
