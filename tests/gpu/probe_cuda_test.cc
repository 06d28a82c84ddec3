// Measuring a device with memory of its own, here an emulated one.
#include <gmock/gmock.h>

#include "gpu/cuda_device.h"
#include "gpu/cuda_kernels.h"
#include "offload/probe.h"
#include "offload/probe_compute.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/support/temp_dir.h"

namespace zerostream {
namespace {

constexpr ProbeRounds kOnce = {.least = 1, .most = 1, .seconds = 0};
constexpr int64_t kFreeBytes = int64_t{512} << 20;

Backend emulated_backend() {
  auto device = std::make_unique<CudaDevice>();
  auto kernels = std::make_unique<CudaKernels>(*device, KernelLimits{.max_vocabulary = 1});
  return {std::move(device), std::move(kernels), kFreeBytes};
}

void expect_spread(const Rate& rate) {
  EXPECT_GT(rate.low, 0);
  EXPECT_LE(rate.low, rate.median);
  EXPECT_LE(rate.median, rate.high);
}

class CudaProbe : public testing::Test {
 protected:
  void SetUp() override { cuda_emulator::reset(); }
  void TearDown() override { cuda_emulator::reset(); }
};

TEST_F(CudaProbe, AQuickProfileHasCopiesMemoryAndBothLayouts) {
  const TempDir folder;
  const Backend backend = emulated_backend();
  const uint64_t before = cuda_emulator::allocated_bytes();
  const HardwareProfile profile =
      quick_profile(backend, {.path = folder.path().string(), .weights = DType::kF16});
  EXPECT_EQ(cuda_emulator::allocated_bytes(), before);
  EXPECT_EQ(profile.device, DeviceKind::kCuda);
  const HardwareProfile::Link& link = profile.link.value();
  for (const Rate& rate : {link.to_device, link.from_device, link.pageable_to_device,
                           link.pageable_from_device, link.both_ways, profile.compute.memory.read,
                           profile.compute.attention, profile.compute.prompt_attention})
    expect_spread(rate);
  EXPECT_EQ(profile.compute.memory.bytes, kFreeBytes);
  EXPECT_NE(profile.host.bytes, kFreeBytes);
  EXPECT_GT(profile.compute.launch_seconds, 0);
  for (const WeightLayout layout : {WeightLayout::kTile64, WeightLayout::kRows}) {
    EXPECT_TRUE(profile.knows(DType::kF16, layout));
    for (const GemmRates::Point& point : profile.gemm(DType::kF16, false, layout).points) {
      expect_spread(point.flops);
      EXPECT_LE(point.rows, 32) << "an emulated device is too slow for more";
    }
  }
  EXPECT_THAT(probe_table(profile), testing::AllOf(testing::HasSubstr("both ways at once"),
                                                   testing::HasSubstr("fp16 weights, in rows"),
                                                   testing::HasSubstr("over a prompt")));
  const std::string file = folder.file("profile.yaml");
  write_file(file, hardware_profile_text(profile));
  EXPECT_EQ(hardware_profile_text(read_hardware_profile(file)), hardware_profile_text(profile));
}

TEST_F(CudaProbe, KindsThatTheDeviceLacksAreLeftOut) {
  const Backend backend = emulated_backend();
  ComputeProbe compute(*backend.device, *backend.kernels, 64, kOnce);
  constexpr int64_t kRows[] = {1, 16, 64};
  const auto points = [&](const WeightKind& kind) -> size_t {
    const auto rates = compute.gemm(kind, kRows);
    return rates ? rates->points.size() : 0;
  };
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kI8, DType::kI4})
    EXPECT_EQ(points({.dtype = dtype}), 2u);
  EXPECT_EQ(points({.dtype = DType::kF32, .layout = WeightLayout::kRows}), 2u);
  EXPECT_EQ(points({.dtype = DType::kI4, .layout = WeightLayout::kRows}), 0u);
  EXPECT_EQ(points({.dtype = DType::kI8, .int8_activations = true}), 0u);
}

}  // namespace
}  // namespace zerostream
