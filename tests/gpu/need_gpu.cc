// Skips all tests of a program where there is no GPU.
#include <gtest/gtest.h>

#include "gpu/cuda_device.h"

namespace zerostream {
namespace {

class NeedGpu : public ::testing::Environment {
 public:
  void SetUp() override {
    if (count_cuda_devices() > 0) return;
    GTEST_SKIP() << "[  SKIPPED ] the CUDA runtime finds no GPU here";  // the mark is for ctest
  }
};

[[maybe_unused]] ::testing::Environment* const need_gpu =
    ::testing::AddGlobalTestEnvironment(new NeedGpu);

}  // namespace
}  // namespace zerostream
