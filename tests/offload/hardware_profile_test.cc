#include "offload/hardware_profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/temp_dir.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using testing::HasSubstr;

const std::string kHead = "name: a\nsource: b\ndevice: cpu\n";
const std::string kHost = "host: {bytes: 24GiB, read: 40e9}\n";
const std::string kCompute =
    "compute:\n  attention: 10e9\n  launch_seconds: 1e-6\n  gemm:\n    - weights: bf16\n"
    "      points: [{rows: 1, flops: 30e9}]\n";

class HardwareProfileTest : public testing::Test {
 protected:
  HardwareProfile read(const std::string& text) {
    write_file(path_, text);
    return read_hardware_profile(path_);
  }
  std::string error(const std::string& text) {
    try {
      read(text);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "no error";
  }

  TempDir folder_;
  std::string path_ = folder_.file("p.yaml");
};

HardwareProfile full_profile() {
  HardwareProfile profile;
  profile.name = "a \"GPU\": # 1";
  profile.source = "nowhere";
  profile.device = DeviceKind::kCuda;
  profile.storage = HardwareProfile::Storage();
  profile.storage->read = {2.5e9, 2.25e9, 3e9};
  profile.storage->write = {1e9, 0, 0};
  profile.storage->latency_seconds = 1e-4;
  profile.storage->modes = {{"io_uring", true, 4 << 20, {2.5e9, 2.25e9, 3e9}},
                            {"threads", false, 256 << 10, {0.3e9, 0, 0}}};
  profile.host = {24'000'000'001, {40e9, 0, 0}};
  profile.link = HardwareProfile::Link();
  profile.link->to_device = {12.1e9, 11e9, 13e9};
  profile.link->from_device = {10e9, 0, 0};
  profile.link->pageable_to_device = {6e9, 5e9, 7e9};
  profile.link->pageable_from_device = {5e9, 0, 0};
  profile.link->both_ways = {20e9, 19e9, 21e9};
  profile.link->sharing = {1, 0.875};
  profile.compute.memory = {int64_t{32} << 30, {750e9, 0, 0}};
  profile.compute.gemm = {{DType::kF16, false, {{1, {1e12, 0, 0}}, {64, {50e12, 40e12, 60e12}}}},
                          {DType::kF16, false, {{1, {3e12, 0, 0}}}, WeightLayout::kRows},
                          {DType::kI8, true, {{1, {2e12, 0, 0}}}}};
  profile.compute.attention = {700e9, 0, 0};
  profile.compute.prompt_attention = {90e12, 80e12, 95e12};
  profile.compute.launch_seconds = 5e-6;
  profile.peer_link = Rate{130e9, 0, 0};
  return profile;
}

TEST_F(HardwareProfileTest, WhatIsWrittenReadsBack) {
  const HardwareProfile profile = full_profile();
  const HardwareProfile back = read(hardware_profile_text(profile));
  EXPECT_EQ(hardware_profile_text(back), hardware_profile_text(profile));
  EXPECT_EQ(back.name, profile.name);
  EXPECT_EQ(back.device, DeviceKind::kCuda);
  EXPECT_EQ(back.storage->modes.at(1).block_size, 256 << 10);
  EXPECT_FALSE(back.storage->modes.at(1).direct);
  EXPECT_EQ(back.storage->read.low, 2.25e9);
  EXPECT_EQ(back.host.bytes, 24'000'000'001);
  EXPECT_EQ(back.link->sharing.at(1), 0.875);
  EXPECT_EQ(back.link->pageable_to_device.low, 5e9);
  EXPECT_EQ(back.link->pageable_from_device.median, 5e9);
  EXPECT_EQ(back.link->both_ways.high, 21e9);
  EXPECT_EQ(back.compute.prompt_attention.median, 90e12);
  EXPECT_EQ(back.compute.gemm.at(0).layout, WeightLayout::kTile64);
  EXPECT_EQ(back.compute.gemm.at(1).layout, WeightLayout::kRows);
  EXPECT_EQ(back.compute.gemm.at(0).points.at(1).flops.high, 60e12);
  EXPECT_TRUE(back.compute.gemm.at(2).int8_activations);
  EXPECT_EQ(back.peer_link->median, 130e9);
}

TEST_F(HardwareProfileTest, ACpuComputesInTheHostsMemory) {
  const HardwareProfile profile = read(kHead + kHost + kCompute);
  EXPECT_EQ(profile.compute.memory.bytes, int64_t{24} << 30);
  EXPECT_EQ(profile.compute.memory.read.median, 40e9);
  EXPECT_FALSE(profile.storage || profile.link || profile.peer_link);
  EXPECT_THAT(error(kHead + kHost + kCompute + "link: {to_device: 1, from_device: 1}\n"),
              HasSubstr(":11: link: a CPU has no link"));
}

TEST_F(HardwareProfileTest, RefusesUnknownMissingAndWrongValues) {
  EXPECT_THAT(error(kHead + kHost + kCompute + "storag: 1\n"),
              HasSubstr(":11: unknown key \"storag\"; did you mean \"storage\"?"));
  EXPECT_THAT(error(kHead + "host: {bytes: 1GiB, raed: 1}\n" + kCompute),
              HasSubstr("p.yaml:4: host: unknown key \"raed\"; did you mean \"read\"?"));
  EXPECT_THAT(error(kHead + "host: {bytes: 1GiB}\n" + kCompute),
              HasSubstr(":4: host: key \"read\" is missing"));
  EXPECT_THAT(error(kHead + kHost), HasSubstr(":1: key \"compute\" is missing"));
  EXPECT_THAT(error(kHead + "host: {bytes: 1GiB, read: fast}\n" + kCompute),
              HasSubstr(":4: host.read: \"fast\" is not a number above 0"));
  EXPECT_THAT(error(kHead + "host: {bytes: 1GiB, read: {median: 1, low: 2, high: 3}}\n" + kCompute),
              HasSubstr("host.read: low, median and high do not ascend"));
  EXPECT_THAT(error("name: a\nsource: b\ndevice: gpu\n" + kHost + kCompute),
              HasSubstr(":3: device: \"gpu\" is not one of cpu, cuda"));
  EXPECT_THAT(error("name: a\nsource: b\ndevice: cuda\n" + kHost + kCompute),
              HasSubstr("compute: key \"memory\" is missing"));
  EXPECT_THAT(error(kHead + kHost + "compute: {attention: 1, launch_seconds: 1e-6, gemm: []}\n"),
              HasSubstr("compute.gemm: has no rates"));
  EXPECT_THAT(error(kHead + kHost +
                    "compute:\n  attention: 1\n  launch_seconds: 1e-6\n  gemm:\n"
                    "    - weights: bf16\n"
                    "      points: [{rows: 2, flops: 1}, {rows: 2, flops: 1}]\n"),
              HasSubstr(":10: compute.gemm[0].points[1]: rows do not ascend"));
  EXPECT_THAT(error(kHead + kHost +
                    "compute:\n  attention: 1\n  launch_seconds: 1e-6\n  gemm:\n"
                    "    - {weights: bf16, layout: tiles, points: [{rows: 2, flops: 1}]}\n"),
              HasSubstr(":9: compute.gemm[0].layout: \"tiles\" is not one of tile64, rows"));
  EXPECT_THAT(error("- 1\n"), HasSubstr(":1: is not a list of keys"));
  EXPECT_THAT(error(kHead + kHead), HasSubstr(":4: key \"name\" is given twice"));
  EXPECT_THROW(read_hardware_profile(folder_.file("none.yaml")), UsageError);
}

TEST(GemmRatesTest, InterpolatesSecondsBetweenRows) {
  GemmRates rates;
  // 1 row: 2 flops in 1 s per weight; 3 rows: 6 flops in 2 s per weight.
  rates.points = {{1, {2, 0, 0}}, {3, {3, 0, 0}}};
  EXPECT_DOUBLE_EQ(rates.seconds(1, 10, 10), 100);
  EXPECT_DOUBLE_EQ(rates.seconds(2, 10, 10), 150);
  EXPECT_DOUBLE_EQ(rates.seconds(3, 10, 10), 200);
  EXPECT_DOUBLE_EQ(rates.seconds(6, 10, 10), 400);  // at the rate of 3 rows
  EXPECT_DOUBLE_EQ(rates.seconds(0, 10, 10), 0);
  rates.points = {{4, {8, 0, 0}}};
  EXPECT_DOUBLE_EQ(rates.seconds(2, 10, 10), 50);  // at the rate of 4 rows
}

TEST(GemmRatesTest, FindsTheNearestKind) {
  HardwareProfile profile;
  const auto add = [&](DType dtype, bool int8) {
    profile.compute.gemm.push_back({dtype, int8, {{1, {1, 0, 0}}}});
  };
  const auto found = [&](DType dtype, bool int8) { return profile.gemm(dtype, int8).weights; };
  add(DType::kF32, false);
  add(DType::kF16, false);
  EXPECT_EQ(found(DType::kF32, false), DType::kF32);
  EXPECT_EQ(found(DType::kBF16, false), DType::kF16);
  EXPECT_EQ(found(DType::kI4, false), DType::kF16);
  EXPECT_EQ(found(DType::kI8, true), DType::kF16);
  add(DType::kI8, false);
  add(DType::kI8, true);
  EXPECT_EQ(found(DType::kI4, false), DType::kI8);
  EXPECT_FALSE(profile.gemm(DType::kI8, false).int8_activations);
  EXPECT_TRUE(profile.gemm(DType::kI8, true).int8_activations);
  EXPECT_TRUE(profile.gemm(DType::kI4, true).int8_activations);

  EXPECT_EQ(profile.gemm(DType::kF16, false, WeightLayout::kRows).layout, WeightLayout::kTile64);
  EXPECT_FALSE(profile.knows(DType::kF16, WeightLayout::kRows));
  profile.compute.gemm.push_back({DType::kF16, false, {{1, {1, 0, 0}}}, WeightLayout::kRows});
  EXPECT_EQ(profile.gemm(DType::kF16, false, WeightLayout::kRows).layout, WeightLayout::kRows);
  EXPECT_EQ(profile.gemm(DType::kF16, false).layout, WeightLayout::kTile64);
  EXPECT_TRUE(profile.knows(DType::kF16, WeightLayout::kRows));
  EXPECT_FALSE(profile.knows(DType::kBF16, WeightLayout::kTile64));
}

TEST(HardwareProfilesTest, TheFilesOfConfigsRead) {
  int count = 0;
  for (const auto& file :
       std::filesystem::directory_iterator(ZS_TEST_DATA "/../../configs/hardware")) {
    const HardwareProfile profile = read_hardware_profile(file.path().string());
    EXPECT_FALSE(profile.name.empty());
    EXPECT_TRUE(profile.storage.has_value()) << file.path();
    ++count;
  }
  EXPECT_GE(count, 6);
}

}  // namespace
}  // namespace zerostream
