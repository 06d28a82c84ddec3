// What only the emulated runtime shows of the kernels: what they ask of it, and what becomes of
// its refusals.
#include <gmock/gmock.h>

#include "gpu/row_products.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/gpu/gpu_fixture.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

class EmulatedKernelsTest : public GpuKernelsTest {
 protected:
  void TearDown() override { cuda_emulator::reset(); }

  // A product with a weight in rows and the reference's target of it.
  struct Product {
    Matrix source, weight, bias, actual, expected;
    Product(DType dtype, int64_t rows, int64_t inputs, int64_t cols, std::mt19937& random)
        : source(dtype, rows, inputs, round_up(inputs, 64)),
          weight(dtype, cols, inputs),
          bias(DType::kF32, 1, cols),
          actual(DType::kF32, rows, cols),
          expected(DType::kF32, rows, cols) {
      source.randomise(random);
      weight.randomise(random);
      bias.randomise(random);
    }
    LinearArgs args() const {
      return {.source = source.view(),
              .weight = {weight.view().data, weight.view().dtype, WeightLayout::kRows,
                         weight.rows(), weight.cols()},
              .bias = bias.floats(),
              .epilogue = Epilogue::kActivate,
              .activation = Activation::kSilu,
              .target = expected.view()};
    }
  };
  LinearArgs on_device_args(const Product& product) {
    LinearArgs args = product.args();
    args.source = source_on_device(product.source);
    args.weight.data = on_device(product.weight).data;
    args.bias = floats_on_device(product.bias);
    args.target = on_device(product.actual);
    return args;
  }
  CudaStream& cuda_stream() { return dynamic_cast<CudaStream&>(*stream_); }
};

TEST_F(EmulatedKernelsTest, RowsThatDoNotFitIntoScratchMemoryGoInParts) {
  std::mt19937 random(1);
  Product product(DType::kBF16, 23, 40, 70, random);
  reference_.linear(product.args(), *reference_stream_);
  const LinearArgs args = on_device_args(product);
  RowProducts products(device_, {.sum_bytes = 5 * 128 * int64_t{sizeof(float)}});
  const auto before = cuda_emulator::counters().launches;
  EXPECT_TRUE(products.multiply(args, cuda_stream()));
  finish();
  read(args.target, product.actual);
  EXPECT_LT(nmse(product.actual, product.expected), 1e-9);
  EXPECT_EQ(cuda_emulator::counters().launches - before, 10);  // 5 rows at a time
}

TEST_F(EmulatedKernelsTest, WhatCublasLtDoesNotTakeIsMultipliedHere) {
  std::mt19937 random(2);
  for (const DType dtype : kFloatTypes) {
    Product product(dtype, 18, 33, 70, random);
    reference_.linear(product.args(), *reference_stream_);
    const LinearArgs args = on_device_args(product);
    cuda_emulator::fail_call("cublasLtMatmulAlgoGetHeuristic", 1, cudaErrorUnknown);
    kernels_.linear(args, *stream_);
    finish();
    read(args.target, product.actual);
    EXPECT_LT(nmse(product.actual, product.expected), 1e-9) << dtype_name(dtype);
    clear();
  }
}

// A run of two of the five panels at a time, unpacked and multiplied.
TEST_F(EmulatedKernelsTest, ManyRowsUnpackWeightsInTiles) {
  std::mt19937 random(4);
  CudaKernels kernels(device_, {.max_vocabulary = 1, .unpack_bytes = 2 * 64 * 32 * 2});
  constexpr int64_t kMany = UnpackedProducts::kLeastRows;
  const LayoutWeight weight(DType::kBF16, 320, 32, random);
  Matrix source(DType::kBF16, kMany, 32), tiles(DType::kF32, kMany, 320),
      target(DType::kF32, kMany, 320);
  source.randomise(random);
  LinearArgs args = {.source = source_on_device(source),
                     .weight = weight.view(WeightLayout::kTile64,
                                           on_device(weight.matrix(WeightLayout::kTile64)).data),
                     .target = on_device(tiles)};
  const auto launches = [&](Kernels& used, int64_t rows) {
    const auto before = cuda_emulator::counters().launches;
    LinearArgs some = args;
    some.source.rows = some.target.rows = rows;
    used.linear(some, *stream_);
    finish();
    return cuda_emulator::counters().launches - before;
  };
  EXPECT_EQ(launches(kernels, kMany - 1), 1);
  EXPECT_EQ(launches(kernels, kMany), 6);
  EXPECT_EQ(launches(kernels_, kMany), 1);
  read(args.target, tiles);

  CudaKernels refused(device_, {.max_vocabulary = 1, .unpack_bytes = 2 * 64 * 32 * 2});
  cuda_emulator::fail_call("cublasLtMatmulAlgoGetHeuristic", 1, cudaErrorUnknown);
  EXPECT_EQ(launches(refused, kMany), 6);
  read(args.target, target);
  EXPECT_EQ(target.values(), tiles.values());
}

TEST_F(EmulatedKernelsTest, AFailedProductIsNamed) {
  std::mt19937 random(3);
  Product product(DType::kF16, 3, 64, 100, random);
  const LinearArgs args = on_device_args(product);
  cuda_emulator::fail_call("cublasLtMatmul", 1, cudaErrorUnknown);
  kernels_.linear(args, *stream_);
  EXPECT_THAT(
      [&] { stream_->synchronize(); },
      ThrowsMessage<DeviceError>(AllOf(HasSubstr("cublasLtMatmul on GPU 0"), HasSubstr("3 rows"),
                                       HasSubstr("100 x 64 weights"))));
  stream_ = device_.make_compute_stream();
}

// One token of each of three sequences through a layer as LLaMA has it.
class EmulatedLayerTest : public EmulatedKernelsTest {
 protected:
  static constexpr int32_t kRows = 3, kHeads = 4, kKvHeads = 2, kDim = 64, kBefore = 130;
  static constexpr int64_t kHidden = kHeads * kDim, kInner = 192;

  PackedWeight weight(WeightLayout layout, int64_t outputs, int64_t inputs) {
    PackedWeight packed = {nullptr, DType::kBF16, layout, outputs, inputs};
    packed.data = on_device(std::vector<std::byte>(static_cast<size_t>(packed.bytes())));
    return packed;
  }
  void run_layer(WeightLayout layout, cuda_emulator::Counters& used) {
    const auto matrix = [&](DType dtype, int64_t cols) {
      return source_on_device(Matrix(dtype, kRows, cols));
    };
    const TensorView hidden = matrix(DType::kF32, kHidden);
    const TensorView normed = matrix(DType::kBF16, kHidden), inner = matrix(DType::kBF16, kInner);
    const TensorView qkv = matrix(DType::kF32, (kHeads + 2 * kKvHeads) * kDim);
    const TensorView query = matrix(DType::kF32, kHidden), attended = matrix(DType::kBF16, kHidden);
    const float* cosines = floats_on_device(Matrix(DType::kF32, kRows, kDim / 2));
    const PackedWeight qkv_weight = weight(layout, qkv.cols, kHidden);
    const PackedWeight out_weight = weight(layout, kHidden, kHidden);
    const PackedWeight up_weight = weight(layout, 2 * kInner, kHidden);
    const PackedWeight down_weight = weight(layout, kHidden, kInner);
    std::vector<SequenceSpan> spans;
    std::vector<std::vector<int32_t>> tables;
    for (int32_t row = 0; row < kRows; ++row) {
      spans.push_back({row, 1, kBefore, nullptr});
      tables.emplace_back();
      for (int32_t i = 0; i <= kBefore / 16; ++i) tables.back().push_back(row * 9 + i);
    }
    const SequenceSpan* sequences = on_device(spans, tables);
    const KvPool pool(DType::kBF16, kKvHeads, kDim, 16, 27);
    const KvLayerView kv = on_device(pool, 27);
    finish();

    const cuda_emulator::Counters before = cuda_emulator::counters();
    kernels_.norm({.source = hidden, .target = normed}, *stream_);
    kernels_.linear({.source = normed, .weight = qkv_weight, .target = qkv}, *stream_);
    kernels_.write_kv({.qkv = qkv,
                       .rope = RopeKind::kHalf,
                       .rope_cols = kDim / 2,
                       .rope_cos = cosines,
                       .rope_sin = cosines,
                       .sequences = sequences,
                       .num_sequences = kRows,
                       .kv = kv,
                       .query = query},
                      *stream_);
    kernels_.attention({.query = query,
                        .kv = kv,
                        .sequences = sequences,
                        .num_sequences = kRows,
                        .target = attended},
                       *stream_);
    kernels_.linear(
        {.source = attended, .weight = out_weight, .epilogue = Epilogue::kAdd, .target = hidden},
        *stream_);
    kernels_.norm({.source = hidden, .target = normed}, *stream_);
    kernels_.linear({.source = normed,
                     .weight = up_weight,
                     .epilogue = Epilogue::kGated,
                     .activation = Activation::kSilu,
                     .target = inner},
                    *stream_);
    kernels_.linear(
        {.source = inner, .weight = down_weight, .epilogue = Epilogue::kAdd, .target = hidden},
        *stream_);
    const cuda_emulator::Counters after = cuda_emulator::counters();
    used = {.launches = after.launches - before.launches,
            .host_synchronisations = after.host_synchronisations - before.host_synchronisations,
            .allocations = after.allocations - before.allocations,
            .copies = after.copies - before.copies};
    finish();
    clear();
  }
};

TEST_F(EmulatedLayerTest, TakesFewLaunchesAndNothingElse) {
  for (const WeightLayout layout : {WeightLayout::kTile64, WeightLayout::kRows}) {
    cuda_emulator::Counters used;
    run_layer(layout, used);
    EXPECT_EQ(used.launches, layout == WeightLayout::kTile64 ? 9 : 10);
    EXPECT_EQ(used.host_synchronisations, 0);
    EXPECT_EQ(used.allocations, 0);
    EXPECT_EQ(used.copies, 0);
  }
}

}  // namespace
}  // namespace zerostream
