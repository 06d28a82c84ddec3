// Matrix multiplication on the GPU against the reference.
#include <gtest/gtest.h>

#include <cmath>

#include "gpu/unpacked_products.h"
#include "tests/gpu/gpu_fixture.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

// Integers of any bits, scales of both signs, padding that is not clean.
std::vector<std::byte> random_quantised(const PackedWeight& weight, std::mt19937& random) {
  std::vector<std::byte> bytes(static_cast<size_t>(weight.bytes()));
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  for (int64_t panel = 0; panel < weight.panels(); ++panel)
    for (int64_t group = 0; group < weight.groups(); ++group)
      for (int64_t output = 0; output < kPanelOutputs; ++output)
        store_float(bytes.data() + panel * weight.panel_bytes() + weight.tiles_bytes() +
                        group * weight.group_bytes(),
                    DType::kF16, output, static_cast<float>(random() % 201) / 1000 - 0.1f);
  return bytes;
}

class GpuLinearTest : public GpuKernelsTest {
 protected:
  struct Case {
    DType dtype = DType::kF32;
    WeightLayout layout = WeightLayout::kTile64;
    int64_t rows = 1;
    int64_t inputs = 1;
    int64_t cols = 1;
    Epilogue epilogue = Epilogue::kStore;
    Activation activation = Activation::kNone;
    DType target = DType::kF32;
    bool biased = true;
  };
  struct QuantisedCase {
    DType dtype = DType::kI8;
    DType source = DType::kBF16;
    int32_t group_size = 32;
    bool has_zeros = false;
    int64_t rows = 1;
  };

  // NMSE of the GPU's target against the reference's.
  double error_of(const Case& test, std::mt19937& random) {
    const bool gated = test.epilogue == Epilogue::kGated;
    const int64_t outputs = gated ? 2 * round_up(test.cols, 64) : test.cols;
    const LayoutWeight weight(test.dtype, outputs, test.inputs, random);
    Matrix source(test.dtype, test.rows, test.inputs, round_up(test.inputs, 64));
    Matrix bias(DType::kF32, 1, outputs);
    Matrix actual(test.target, test.rows, test.cols), expected(test.target, test.rows, test.cols);
    source.randomise(random);
    bias.randomise(random);
    actual.randomise(random);
    expected.fill(actual.values());
    LinearArgs args = {.source = source.view(),
                       .weight = weight.view(test.layout, weight.matrix(test.layout).view().data),
                       .bias = test.biased ? bias.floats() : nullptr,
                       .epilogue = test.epilogue,
                       .activation = test.activation,
                       .target = expected.view()};
    reference_.linear(args, *reference_stream_);
    args.source = source_on_device(source);
    args.weight = weight.view(test.layout, on_device(weight.matrix(test.layout)).data);
    args.bias = test.biased ? floats_on_device(bias) : nullptr;
    args.target = on_device(actual);
    tested_->linear(args, *stream_);
    finish();
    read(args.target, actual);
    clear();
    return nmse(actual, expected);
  }

  // The same of a gated product of 300 inputs.
  double error_of(const QuantisedCase& test, std::mt19937& random) {
    PackedWeight weight = {nullptr, test.dtype,      WeightLayout::kTile64, 256,
                           300,     test.group_size, test.has_zeros};
    const std::vector<std::byte> bytes = random_quantised(weight, random);
    Matrix source(test.source, test.rows, 300, 384), actual(DType::kF32, test.rows, 70),
        expected(DType::kF32, test.rows, 70);
    source.randomise(random);
    weight.data = bytes.data();
    LinearArgs args = {.source = source.view(),
                       .weight = weight,
                       .epilogue = Epilogue::kGated,
                       .activation = Activation::kSilu,
                       .target = expected.view()};
    reference_.linear(args, *reference_stream_);
    args.source = source_on_device(source);
    args.weight.data = on_device(bytes);
    args.target = on_device(actual);
    tested_->linear(args, *stream_);
    finish();
    read(args.target, actual);
    clear();
    return nmse(actual, expected);
  }

  Kernels* tested_ = &kernels_;
};

// Products of many rows unpack weights in tiles, here a few panels at a time.
class GpuManyRowsTest : public GpuLinearTest {
 protected:
  static constexpr int64_t kRows = UnpackedProducts::kLeastRows + 3;
  GpuManyRowsTest() { tested_ = &unpacking_; }
  CudaKernels unpacking_{device_, {.max_vocabulary = 1, .unpack_bytes = 3 * 64 * 320 * 2}};
};

TEST_F(GpuLinearTest, ShapesAndLayouts) {
  std::mt19937 random(1);
  for (const DType dtype : kFloatTypes)
    for (const WeightLayout layout : {WeightLayout::kTile64, WeightLayout::kRows})
      for (const int64_t rows : {1, 16, 17, 70})
        for (const auto& [inputs, cols] :
             {std::pair<int64_t, int64_t>{1, 1}, {37, 70}, {64, 64}, {100, 129}})
          EXPECT_LT(error_of({dtype, layout, rows, inputs, cols}, random), 1e-9)
              << dtype_name(dtype) << ' ' << rows << 'x' << inputs << 'x' << cols;
}

TEST_F(GpuLinearTest, Epilogues) {
  std::mt19937 random(2);
  for (const DType dtype : kFloatTypes)
    for (const DType target : kFloatTypes)
      for (const WeightLayout layout : {WeightLayout::kTile64, WeightLayout::kRows})
        for (const int64_t rows : {3, 20}) {
          for (const Activation activation :
               {Activation::kRelu, Activation::kGelu, Activation::kGeluTanh, Activation::kSilu})
            for (const Epilogue epilogue : {Epilogue::kActivate, Epilogue::kGated})
              EXPECT_LT(error_of({dtype, layout, rows, 50, 70, epilogue, activation, target,
                                  activation != Activation::kRelu},
                                 random),
                        target == DType::kF32 ? 1e-9 : nmse_limit(target))
                  << dtype_name(dtype);
          if (target != DType::kF32) continue;
          EXPECT_LT(error_of({dtype, layout, rows, 50, 70, Epilogue::kAdd}, random), 1e-9);
        }
}

// However rows and outputs are cut: few rows and many go different ways.
TEST_F(GpuLinearTest, ARowHasTheSameBitsInAnyCall) {
  std::mt19937 random(3);
  const auto compare = [&](const PackedWeight& whole, int64_t cut_bytes) {
    Matrix source(DType::kBF16, 40, 200, 256), together(DType::kF32, 40, 192),
        apart(DType::kF32, 40, 192);
    source.randomise(random);
    const TensorView sources = source_on_device(source);
    const TensorView all = on_device(together), parts = on_device(apart);
    kernels_.linear({.source = sources, .weight = whole, .target = all}, *stream_);
    for (const auto& [row, rows] : {std::pair<int64_t, int64_t>{0, 1}, {1, 16}, {17, 23}})
      for (const auto& [begin, cols] : {std::pair<int64_t, int64_t>{0, 64}, {64, 128}}) {
        PackedWeight part = whole;
        part.data += begin / 64 * cut_bytes;
        part.outputs = cols;
        kernels_.linear({.source = sources.row_range(row, rows),
                         .weight = part,
                         .target = parts.row_range(row, rows).col_range(begin, cols)},
                        *stream_);
      }
    finish();
    read(all, together);
    read(parts, apart);
    for (int64_t row = 0; row < 40; ++row)
      EXPECT_EQ(together.row_bytes(row), apart.row_bytes(row)) << dtype_name(whole.dtype);
  };
  const LayoutWeight weight(DType::kBF16, 192, 200, random);
  for (const WeightLayout layout : {WeightLayout::kTile64, WeightLayout::kRows}) {
    const PackedWeight whole = weight.view(layout, on_device(weight.matrix(layout)).data);
    compare(whole, layout == WeightLayout::kTile64 ? whole.panel_bytes() : 64 * 200 * 2);
  }
  for (const DType dtype : {DType::kI8, DType::kI4}) {
    PackedWeight whole = {nullptr, dtype, WeightLayout::kTile64, 192, 200, 32, true};
    whole.data = on_device(random_quantised(whole, random));
    compare(whole, whole.panel_bytes());
  }
}

TEST_F(GpuLinearTest, QuantisedWeights) {
  std::mt19937 random(4);
  for (const DType dtype : {DType::kI8, DType::kI4})
    for (const DType source : kFloatTypes)
      for (const int32_t group_size : {32, 64, 128})
        for (const bool has_zeros : {false, true})
          for (const int64_t rows : {1, 18})
            EXPECT_LT(error_of({dtype, source, group_size, has_zeros, rows}, random), 1e-9)
                << dtype_name(dtype) << ", groups of " << group_size << ", " << rows << " rows";
}

TEST_F(GpuManyRowsTest, EpiloguesAndShapes) {
  std::mt19937 random(5);
  for (const DType dtype : {DType::kF16, DType::kBF16})
    for (const auto& [inputs, cols] : {std::pair<int64_t, int64_t>{37, 70}, {128, 257}}) {
      for (const Epilogue epilogue : {Epilogue::kStore, Epilogue::kAdd, Epilogue::kGated})
        EXPECT_LT(error_of({dtype, WeightLayout::kTile64, kRows, inputs, cols, epilogue,
                            epilogue == Epilogue::kGated ? Activation::kSilu : Activation::kNone},
                           random),
                  1e-9)
            << dtype_name(dtype) << ' ' << inputs << " to " << cols;
      EXPECT_LT(error_of({dtype, WeightLayout::kTile64, kRows, inputs, cols, Epilogue::kActivate,
                          Activation::kGeluTanh, dtype},
                         random),
                nmse_limit(dtype));
    }
}

// Numbers of quantised weights are rounded to the source's type.
TEST_F(GpuManyRowsTest, QuantisedWeights) {
  std::mt19937 random(6);
  for (const DType dtype : {DType::kI8, DType::kI4})
    for (const DType source : {DType::kF16, DType::kBF16})
      for (const int32_t group_size : {32, 128})
        EXPECT_LT(error_of({dtype, source, group_size, group_size == 32, kRows}, random),
                  nmse_limit(source))
            << dtype_name(dtype) << ", groups of " << group_size;
}

TEST_F(GpuLinearTest, IntegerActivationsThrowAtTheCall) {
  Matrix source(DType::kF32, 1, 128), target(DType::kF32, 1, 64);
  const PackedWeight weight = {source.view().data, DType::kI8, WeightLayout::kTile64, 64, 128, 32};
  EXPECT_THROW(kernels_.linear({.source = source.view(),
                                .weight = weight,
                                .target = target.view(),
                                .int8_activations = true},
                               *stream_),
               InternalError);
}

}  // namespace
}  // namespace zerostream
