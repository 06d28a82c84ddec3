// What kernels are made for.
#include "offload/backend.h"

#include <gtest/gtest.h>

#include "tests/offload/golden_case.h"
#include "tests/offload/planning_case.h"

namespace zerostream {
namespace {

TEST(KernelLimits, UnpackingTakesNoMoreThanTheLargestMatrix) {
  const GoldenModel model(golden_path("llama2"), DType::kBF16);
  const ModelLayout& layout = model.store().layout();
  const KernelLimits limits = kernel_limits({}, layout);
  EXPECT_EQ(limits.max_vocabulary, layout.config.vocab_size);
  int64_t largest = 0;
  for (const Segment& segment : layout.segments)
    for (const StoredMatrix& matrix : segment.matrices)
      if (matrix.layout == WeightLayout::kTile64) largest = std::max(largest, matrix.bytes());
  EXPECT_EQ(limits.unpack_bytes, largest);
  EXPECT_EQ(kernel_limits({}, shape_layout("models/opt-30b")).unpack_bytes,
            kLargestLimits.unpack_bytes);
}

TEST(KernelLimits, NothingIsUnpackedInFp32NorWhereBitsMustStay) {
  const GoldenModel fp32(golden_path("llama2"), DType::kF32);
  EXPECT_EQ(kernel_limits({}, fp32.store().layout()).unpack_bytes, 0);
  const GoldenModel int8(golden_path("llama2"), DType::kI8);
  RunConfig::Device device;
  device.batch_invariant = true;
  EXPECT_EQ(kernel_limits(device, int8.store().layout()).unpack_bytes, 0);
}

}  // namespace
}  // namespace zerostream
