// Kernels of a pass with one token move little more than they must: each input read once, each
// output written once. See tests/cuda_emulator/traffic.h for what is counted.
#include "tests/cuda_emulator/traffic.h"

#include <gtest/gtest.h>

#include "gpu/launchers.h"
#include "tests/gpu/gpu_fixture.h"

namespace zerostream {
namespace {

constexpr int64_t kFloat = 4, kHalf = 2;

struct WeightKind {
  const char* name;
  DType dtype;
  int32_t group_size;
  bool has_zeros;
};
constexpr WeightKind kWeightKinds[] = {{"bf16", DType::kBF16, 0, false},
                                       {"int8", DType::kI8, 64, false},
                                       {"int4", DType::kI4, 64, true}};

class TrafficTest : public GpuKernelsTest {
 protected:
  TensorView matrix(DType dtype, int64_t cols) {
    return source_on_device(Matrix(dtype, 1, round_up(cols, 128)).randomise(random_));
  }
  PackedWeight packed(const WeightKind& kind, int64_t outputs, int64_t inputs) {
    PackedWeight weight = {nullptr, kind.dtype,      WeightLayout::kTile64, outputs,
                           inputs,  kind.group_size, kind.has_zeros};
    weight.data = on_device(std::vector<std::byte>(static_cast<size_t>(weight.bytes())));
    return weight;
  }
  // Of a weight, without the padding of its group tables.
  static int64_t moved_bytes(const PackedWeight& weight) {
    return weight.panels() * (weight.tiles_bytes() + weight.groups() * weight.group_bytes());
  }
  const float* vector(int64_t cols) { return floats_on_device(Matrix(DType::kF32, 1, cols)); }
  // Bytes that were moved since the last call over the least.
  double excess(int64_t least) {
    finish();
    return static_cast<double>(cuda_emulator::take_traffic()) / static_cast<double>(least);
  }
  void expect_little(int64_t least, const char* what) {
    const double ratio = excess(least);
    EXPECT_LE(ratio, 1.1) << what;
    EXPECT_GE(ratio, 1.0) << what;
    RecordProperty(what, std::to_string(ratio));
  }
  std::mt19937 random_{1};
};

TEST_F(TrafficTest, Norm) {
  constexpr int64_t kCols = 4096;
  kernels_.norm({.source = matrix(DType::kF32, kCols),
                 .weight = vector(kCols),
                 .target = matrix(DType::kBF16, kCols)},
                *stream_);
  expect_little(kCols * (2 * kFloat + kHalf), "norm");
}

TEST_F(TrafficTest, Linear) {
  constexpr int64_t kInputs = 1024, kOutputs = 512;
  for (const WeightKind& kind : kWeightKinds) {
    const PackedWeight weight = packed(kind, kOutputs, kInputs);
    kernels_.linear({.source = matrix(DType::kBF16, kInputs),
                     .weight = weight,
                     .target = matrix(DType::kF32, kOutputs)},
                    *stream_);
    expect_little(moved_bytes(weight) + kInputs * kHalf + kOutputs * kFloat,
                  ("linear_" + std::string(kind.name)).c_str());
    clear();
  }
}

TEST_F(TrafficTest, Unpack) {
  constexpr int64_t kInputs = 1024, kOutputs = 512;
  const TensorView rows = source_on_device(Matrix(DType::kBF16, kOutputs, kInputs));
  for (const WeightKind& kind : kWeightKinds) {
    const PackedWeight weight = packed(kind, kOutputs, kInputs);
    launch_unpack(weight, rows, dynamic_cast<CudaStream&>(*stream_));
    expect_little(moved_bytes(weight) + kOutputs * kInputs * kHalf,
                  ("unpack_" + std::string(kind.name)).c_str());
  }
}

TEST_F(TrafficTest, WriteKv) {
  constexpr int32_t kHeads = 32, kKvHeads = 8, kDim = 128;
  const KvPool pool(DType::kBF16, kKvHeads, kDim, 16, 1);
  kernels_.write_kv({.qkv = matrix(DType::kF32, (kHeads + 2 * kKvHeads) * kDim),
                     .rope = RopeKind::kHalf,
                     .rope_cols = kDim / 2,
                     .rope_cos = vector(kDim / 2),
                     .rope_sin = vector(kDim / 2),
                     .sequences = on_device({{0, 1, 5, nullptr}}, {{0}}),
                     .num_sequences = 1,
                     .kv = on_device(pool, 1),
                     .query = matrix(DType::kF32, kHeads * kDim)},
                    *stream_);
  expect_little(kDim * ((2 * kHeads + 2 * kKvHeads + 1) * kFloat + 2 * kKvHeads * kHalf),
                "write_kv");
}

// The partial results of each of 16 pieces are written by one kernel and read by the next.
TEST_F(TrafficTest, Attention) {
  constexpr int32_t kHeads = 8, kKvHeads = 2, kDim = 128, kTokens = 1024;
  std::vector<int32_t> table;
  for (int32_t i = 0; i < kTokens / 16; ++i) table.push_back(i);
  for (const DType dtype : {DType::kBF16, DType::kI8}) {
    KvPool pool(dtype, kKvHeads, kDim, 16, kTokens / 16);
    pool.randomise(table, kTokens, random_);
    kernels_.attention({.query = matrix(DType::kF32, kHeads * kDim),
                        .kv = on_device(pool, kTokens / 16),
                        .sequences = on_device({{0, 1, kTokens - 1, nullptr}}, {table}),
                        .num_sequences = 1,
                        .scale = 0.1f,
                        .target = matrix(DType::kBF16, kHeads * kDim)},
                       *stream_);
    const int64_t cells = KvLayerView::content_bytes(dtype, 16, kKvHeads, kDim) * kTokens / 16;
    const int64_t partials = 2 * 16 * kHeads * (kDim + 2) * kFloat;
    expect_little(cells + partials + kHeads * kDim * (kFloat + kHalf), dtype_name(dtype).data());
    clear();
  }
}

}  // namespace
}  // namespace zerostream
