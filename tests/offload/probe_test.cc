#include "offload/probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "cpu/cpu_kernels.h"
#include "offload/backend.h"
#include "offload/probe_compute.h"
#include "offload/probe_samples.h"
#include "tests/support/separate_memory_device.h"
#include "tests/support/temp_dir.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

namespace fs = std::filesystem;

TEST(ProbeSamplesTest, AreTakenUntilTimeIsUp) {
  int count = 0;
  const auto sample = [&] { return static_cast<double>(++count); };
  const Rate rate = measure_rate({.least = 3, .most = 5, .seconds = 100}, sample);
  EXPECT_EQ(count, 5);
  EXPECT_EQ(rate.median, 3);
  EXPECT_EQ(rate.low, 1);
  EXPECT_EQ(rate.high, 5);
  count = 0;
  EXPECT_EQ(measure_rate({.least = 3, .most = 5, .seconds = 0}, sample).median, 1);
  EXPECT_EQ(count, 1);
}

TEST(ProbeSamplesTest, HaveFourDigits) {
  EXPECT_DOUBLE_EQ(round_to_four_digits(123456789), 123500000);
  EXPECT_DOUBLE_EQ(round_to_four_digits(0.000123456), 0.0001235);
  EXPECT_DOUBLE_EQ(round_to_four_digits(9999.6), 10000);
  EXPECT_EQ(round_to_four_digits(0), 0);
}

class ProbeTest : public testing::Test {
 protected:
  HardwareProfile load() {
    return load_profile_or_measure(folder_.file("cache"), backend_,
                                   {.path = folder_.path().string()});
  }
  std::string kept_file() {
    return fs::directory_iterator(folder_.path() / "cache" / "hardware")->path().string();
  }

  TempDir folder_;
  Backend backend_ = make_backend({}, {.max_vocabulary = 1});
};

TEST_F(ProbeTest, AQuickProfileHasWhatARunNeeds) {
  const HardwareProfile profile =
      quick_profile(backend_, {.path = folder_.path().string(), .weights = DType::kF32});
  EXPECT_GT(profile.storage.value().read.median, 0);
  EXPECT_LE(profile.storage->read.low, profile.storage->read.median);
  EXPECT_GT(profile.storage->write.median, 0);
  EXPECT_GT(profile.storage->latency_seconds, 0);
  EXPECT_GT(profile.host.read.median, 0);
  EXPECT_GT(profile.host.bytes, 0);
  EXPECT_EQ(profile.compute.memory.bytes, profile.host.bytes);
  const GemmRates& rates = profile.gemm(DType::kF32, false);
  EXPECT_EQ(rates.weights, DType::kF32);
  ASSERT_EQ(rates.points.size(), 3u);
  EXPECT_GT(rates.seconds(256, 4096, 4096), rates.seconds(1, 4096, 4096));
  EXPECT_GT(profile.compute.attention.median, 0);
  EXPECT_GT(profile.compute.launch_seconds, 0);
  EXPECT_TRUE(fs::is_empty(folder_.path()));
  EXPECT_THAT(probe_table(profile), testing::HasSubstr("256 rows"));
}

TEST_F(ProbeTest, PlansOfOtherWeightsHaveRatesOfTheirOwn) {
  const auto load_for = [&](DType weights) {
    return load_profile_or_measure(
        folder_.file("cache"), backend_,
        {.path = folder_.path().string(), .weights = weights, .all_weights = true});
  };
  const HardwareProfile profile = load_for(DType::kBF16);
  for (const DType weights : {DType::kF32, DType::kF16, DType::kBF16, DType::kI8, DType::kI4})
    EXPECT_TRUE(profile.knows(weights, WeightLayout::kTile64)) << dtype_name(weights);
  EXPECT_EQ(hardware_profile_text(load_for(DType::kI8)), hardware_profile_text(profile));
  EXPECT_FALSE(load().knows(DType::kI8, WeightLayout::kTile64)) << "a run measures its own kind";
}

TEST_F(ProbeTest, AKeptProfileIsUsedUntilItIsOldOrDamaged) {
  HardwareProfile first = load();
  EXPECT_EQ(hardware_profile_text(load()), hardware_profile_text(first));

  first.name = "kept";
  write_file(kept_file(), hardware_profile_text(first));
  EXPECT_EQ(load().name, "kept");
  const auto old = fs::file_time_type::clock::now() - std::chrono::hours(24 * 31);
  fs::last_write_time(kept_file(), old);
  EXPECT_EQ(load().name, backend_.device->description());

  write_file(kept_file(), "name: [");
  EXPECT_EQ(load().name, backend_.device->description());
  EXPECT_EQ(read_hardware_profile(kept_file()).name, backend_.device->description());
}

// With the sizes of a real device, where this processor is quick enough.
TEST(ComputeProbeTest, ADeviceWithMemoryOfItsOwnIsMeasuredAsOne) {
  SeparateMemoryDevice device;
  CpuKernels kernels(device, 1);
  ComputeProbe compute(device, kernels, 32, {.least = 1, .most = 1, .seconds = 0});
  constexpr int64_t kRows[] = {1, 32};
  const GemmRates rates = compute.gemm({.dtype = DType::kBF16}, kRows).value();
  ASSERT_EQ(rates.points.size(), 2u);
  EXPECT_GT(rates.seconds(32, 4096, 4096), rates.seconds(1, 4096, 4096));
  EXPECT_GT(compute.attention(DType::kBF16).median, 0);
  EXPECT_GT(compute.prompt_attention(DType::kBF16).median, 0);
  EXPECT_GT(compute.launch_seconds(), 0);
}

TEST_F(ProbeTest, AFolderThatIsNotThereIsAnError) {
  EXPECT_THROW(quick_profile(backend_, {.path = folder_.file("a/b")}), IoError);
  EXPECT_THROW(
      load_profile_or_measure(folder_.path().string(), backend_, {.path = folder_.file("a/b")}),
      IoError);
}

}  // namespace
}  // namespace zerostream
