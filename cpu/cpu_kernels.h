// The fast kernels of the CPU device.
#pragma once

#include <vector>

#include "base/kernels.h"
#include "cpu/cpu_device.h"
#include "cpu/sample_row.h"

namespace zerostream {

// Vectorised for the instruction set of the stream, shared out over its workers. Streams must be
// compute streams of the device given at construction, and only one of them samples at a time.
// Calls do not allocate.
//
// A row's result has the same bits on every number of workers; it may differ in the last bits
// between instruction sets.
class CpuKernels : public Kernels {
 public:
  // Takes 16 bytes * max_vocabulary for each worker of the device; sample() throws InternalError
  // for more logits than that.
  CpuKernels(const CpuDevice& device, int64_t max_vocabulary);

  void embed(const EmbedArgs& args, Stream& stream) override;
  void norm(const NormArgs& args, Stream& stream) override;
  void convert(const ConvertArgs& args, Stream& stream) override;
  void linear(const LinearArgs& args, Stream& stream) override;
  void write_kv(const WriteKvArgs& args, Stream& stream) override;
  void attention(const AttentionArgs& args, Stream& stream) override;
  void sample(const SampleArgs& args, Stream& stream) override;
  void accumulate_softmax(const AccumulateSoftmaxArgs& args, Stream& stream) override;

 private:
  std::vector<SampleScratch> sample_scratch_;  // per worker
};

}  // namespace zerostream
