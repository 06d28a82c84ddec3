// Matrix multiplication on every instruction set that this machine has: against double precision,
// and the same bits however rows and outputs are cut.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "cpu/linear.h"
#include "cpu/reference_kernels.h"
#include "tests/cpu/kernel_fixture.h"
#include "tests/support/count_allocations.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

struct Case {
  DType dtype;
  CpuIsa isa;
};

std::string case_name(const ::testing::TestParamInfo<Case>& info) {
  constexpr const char* kIsaNames[] = {"avx2", "avx512", "avx512bf16", "amx"};
  return std::string(dtype_name(info.param.dtype)) + "_" +
         kIsaNames[static_cast<size_t>(info.param.isa)];
}

constexpr Case kCases[] = {{DType::kF32, CpuIsa::kAvx2},        {DType::kF32, CpuIsa::kAvx512},
                           {DType::kF16, CpuIsa::kAvx2},        {DType::kF16, CpuIsa::kAvx512},
                           {DType::kBF16, CpuIsa::kAvx2},       {DType::kBF16, CpuIsa::kAvx512},
                           {DType::kBF16, CpuIsa::kAvx512Bf16}, {DType::kBF16, CpuIsa::kAmx}};

// A random source whose rows end with zeros up to the tile border.
Matrix make_source(DType dtype, int64_t rows, int64_t inputs, std::mt19937& random) {
  const int64_t stride = round_up(inputs, 64);
  Matrix wide(dtype, rows, inputs, stride);
  wide.randomise(random);
  return wide;
}

class GemmTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (detect_cpu_isa() < GetParam().isa)
      GTEST_SKIP() << "this machine has no " << cpu_isa_name(GetParam().isa);
  }

  std::unique_ptr<CpuStream> make_stream(int workers) const {
    return std::make_unique<CpuStream>(CpuStreamOptions{
        .workers = workers, .isa = GetParam().isa, .scratch_bytes = kLinearScratchBytes});
  }
  void run(const LinearArgs& args) {
    cpu_linear(args, *stream_);
    stream_->synchronize();
  }
  void run_reference(const LinearArgs& args) {
    reference_.linear(args, *stream_);
    stream_->synchronize();
  }

  const DType dtype_ = GetParam().dtype;
  std::mt19937 random_{1};
  std::unique_ptr<CpuStream> stream_ = make_stream(2);
  ReferenceKernels reference_;
};
INSTANTIATE_TEST_SUITE_P(Cpu, GemmTest, ::testing::ValuesIn(kCases), case_name);

TEST_P(GemmTest, MatchesDoublePrecision) {
  for (const int64_t inputs : {1, 17, 64, 100, 577})
    for (const int64_t outputs : {1, 64, 65, 200})
      for (const int64_t rows : {1, 5, 6, 7, 16, 17, 31, 33, 70}) {
        const Matrix source = make_source(dtype_, rows, inputs, random_);
        const LayoutWeight weight(dtype_, outputs, inputs, random_);
        Matrix bias(DType::kF32, 1, outputs);
        bias.randomise(random_);
        Matrix actual(DType::kF32, rows, outputs), expected(DType::kF32, rows, outputs);
        LinearArgs args = {.source = source.view(),
                           .weight = weight.view(WeightLayout::kRows),
                           .bias = rows % 2 == 0 ? nullptr : bias.floats(),
                           .target = expected.view()};
        run_reference(args);
        args.target = actual.view();
        args.weight = weight.view(WeightLayout::kTile64);
        run(args);
        ASSERT_LT(nmse(actual, expected), 1e-12)
            << rows << " rows, " << inputs << " inputs, " << outputs << " outputs";
      }
}

TEST_P(GemmTest, LongSums) {
  const int64_t inputs = 9000, outputs = 130, rows = 40;
  const Matrix source = make_source(dtype_, rows, inputs, random_);
  const LayoutWeight weight(dtype_, outputs, inputs, random_);
  Matrix actual(DType::kF32, rows, outputs), expected(DType::kF32, rows, outputs);
  run_reference({.source = source.view(),
                 .weight = weight.view(WeightLayout::kRows),
                 .target = expected.view()});
  run({.source = source.view(),
       .weight = weight.view(WeightLayout::kTile64),
       .target = actual.view()});
  EXPECT_LT(nmse(actual, expected), 1e-11);
}

TEST_P(GemmTest, BitsOfARowDoNotDependOnTheCut) {
  constexpr int64_t kRows = 600, kOutputs = 200;
  for (const int64_t inputs : {100, 2200}) {
    const Matrix source = make_source(dtype_, kRows, inputs, random_);
    const LayoutWeight weight(dtype_, kOutputs, inputs, random_);
    Matrix all(DType::kF32, kRows, kOutputs);
    run({.source = source.view(),
         .weight = weight.view(WeightLayout::kTile64),
         .target = all.view()});
    const auto expect_same = [&](const Matrix& part, int64_t row, int64_t col) {
      for (int64_t i = 0; i < part.rows(); ++i)
        ASSERT_EQ(part.row_bytes(i),
                  all.row_bytes(row + i).substr(4 * static_cast<size_t>(col), 4 * part.cols()))
            << "row " << i << " of " << part.rows() << " from row " << row << ", column " << col;
    };
    std::vector<int64_t> counts = {128, 513};
    for (int64_t rows = 1; rows <= 70; ++rows) counts.push_back(rows);
    for (const int64_t rows : counts) {
      const int64_t begin = rows * 7 % (kRows - rows + 1);
      Matrix part(DType::kF32, rows, kOutputs);
      run({.source = source.view().row_range(begin, rows),
           .weight = weight.view(WeightLayout::kTile64),
           .target = part.view()});
      expect_same(part, begin, 0);
    }
    for (const int64_t begin : {0, 64, 128, 192})
      for (const int64_t rows : {1, 33, 300}) {
        const int64_t outputs = std::min<int64_t>(begin == 0 ? 100 : 64, kOutputs - begin);
        Matrix part(DType::kF32, rows, outputs);
        run({.source = source.view().row_range(3, rows),
             .weight = weight.outputs(begin, outputs),
             .target = part.view()});
        expect_same(part, 3, begin);
      }
    for (const int workers : {1, 5}) {
      stream_ = make_stream(workers);
      Matrix part(DType::kF32, kRows, kOutputs);
      run({.source = source.view(),
           .weight = weight.view(WeightLayout::kTile64),
           .target = part.view()});
      expect_same(part, 0, 0);
    }
    Matrix from_rows(DType::kF32, 50, kOutputs);
    run({.source = source.view().row_range(9, 50),
         .weight = weight.view(WeightLayout::kRows),
         .target = from_rows.view()});
    expect_same(from_rows, 9, 0);
  }
}

TEST_P(GemmTest, EpiloguesInEveryTargetType) {
  const int64_t inputs = 96, cols = 150, rows = 21;
  const Matrix source = make_source(dtype_, rows, inputs, random_);
  for (const Epilogue epilogue :
       {Epilogue::kStore, Epilogue::kAdd, Epilogue::kActivate, Epilogue::kGated}) {
    const int64_t outputs = epilogue == Epilogue::kGated ? 2 * round_up(cols, 64) : cols;
    const LayoutWeight weight(dtype_, outputs, inputs, random_);
    Matrix bias(DType::kF32, 1, outputs);
    bias.randomise(random_);
    for (const Activation activation : {Activation::kNone, Activation::kRelu, Activation::kGelu,
                                        Activation::kGeluTanh, Activation::kSilu})
      for (const DType target : {DType::kF32, DType::kF16, DType::kBF16}) {
        if (epilogue == Epilogue::kAdd && target != DType::kF32) continue;
        Matrix actual(target, rows, cols, cols + 10);
        actual.randomise(random_);
        Matrix expected(target, rows, cols);
        expected.fill(actual.values());
        LinearArgs args = {.source = source.view(),
                           .weight = weight.view(WeightLayout::kTile64),
                           .bias = bias.floats(),
                           .epilogue = epilogue,
                           .activation = activation,
                           .target = actual.view()};
        run(args);
        args.weight = weight.view(WeightLayout::kRows);
        args.target = expected.view();
        run_reference(args);
        ASSERT_LT(nmse(actual, expected), nmse_limit(target))
            << "epilogue " << static_cast<int>(epilogue) << ", activation "
            << static_cast<int>(activation) << ", " << dtype_name(target);
        for (int64_t row = 0; row + 1 < rows; ++row)
          for (int64_t gap = 0; gap < 10; ++gap)
            ASSERT_EQ(load_float(actual.view().row(row), target, cols + gap), 0.0f);
      }
  }
}

double exact(Activation activation, double x) {
  switch (activation) {
    case Activation::kRelu:
      return std::max(x, 0.0);
    case Activation::kGelu:
      return x * 0.5 * std::erfc(-x / std::sqrt(2.0));
    case Activation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kNone:
      break;
  }
  return x;
}

TEST_P(GemmTest, ActivationsAreExactToAMillionth) {
  constexpr int64_t kRows = 20000;
  Matrix source(dtype_, kRows, 1, 64);
  for (int64_t row = 0; row < kRows; ++row)
    source.set(row, 0, (static_cast<float>(row) - kRows / 2) / (row % 3 == 0 ? 100.0f : 1500.0f));
  Matrix one(dtype_, 64, tile_inputs(dtype_));
  one.set(0, 0, 1.0f);
  for (const Activation activation : {Activation::kNone, Activation::kRelu, Activation::kGelu,
                                      Activation::kGeluTanh, Activation::kSilu}) {
    Matrix target(DType::kF32, kRows, 1);
    const LinearArgs args = {.source = source.view(),
                             .weight = {one.view().data, dtype_, WeightLayout::kTile64, 1, 1},
                             .epilogue = Epilogue::kActivate,
                             .activation = activation,
                             .target = target.view()};
    run(args);
    for (int64_t row = 0; row < kRows; ++row) {
      const double x = source.at(row, 0), truth = exact(activation, x);
      ASSERT_NEAR(target.at(row, 0), truth, 1e-6 * std::max(1.0, std::abs(truth)))
          << "activation " << static_cast<int>(activation) << " of " << x;
    }
    source.set(0, 0, std::nanf(""));
    run(args);
    ASSERT_TRUE(std::isnan(target.at(0, 0))) << "activation " << static_cast<int>(activation);
    source.set(0, 0, 1.0f);
  }
}

TEST_P(GemmTest, RefusesWhatDoesNotFit) {
  const Matrix source = make_source(dtype_, 4, 64, random_);
  const LayoutWeight weight(dtype_, 128, 64, random_);
  Matrix target(DType::kF32, 4, 128);
  const LinearArgs good = {.source = source.view(),
                           .weight = weight.view(WeightLayout::kTile64),
                           .target = target.view()};
  run(good);
  const auto refused = [&](const std::function<void(LinearArgs&)>& change) {
    LinearArgs args = good;
    change(args);
    EXPECT_THROW(cpu_linear(args, *stream_), InternalError);
  };
  refused([](LinearArgs& args) { args.source.rows = 3; });
  refused([](LinearArgs& args) { args.source.cols = 63; });
  refused([](LinearArgs& args) { args.target.cols = 64; });
  refused([](LinearArgs& args) { args.weight.data = nullptr; });
  refused([](LinearArgs& args) { args.weight.data += 4; });
  refused([](LinearArgs& args) { args.source.data += 4; });
  refused([](LinearArgs& args) { args.source.row_stride += 1; });
  refused([](LinearArgs& args) { args.weight.dtype = DType::kI8; });
  refused([](LinearArgs& args) {
    args.epilogue = Epilogue::kAdd;
    args.target.dtype = DType::kBF16;
  });
  CpuStream copies(CpuStreamOptions{});
  EXPECT_THROW(cpu_linear(good, copies), InternalError);
}

TEST_P(GemmTest, DoesNotAllocate) {
  const Matrix source = make_source(dtype_, 100, 300, random_);
  const LayoutWeight weight(dtype_, 200, 300, random_);
  Matrix target(DType::kF32, 100, 200);
  const LinearArgs args = {.source = source.view(),
                           .weight = weight.view(WeightLayout::kTile64),
                           .target = target.view()};
  CpuEvent event;
  const int64_t before = allocations();
  for (int i = 0; i < 10; ++i) {
    cpu_linear(args, *stream_);
    stream_->record(event);
    stream_->wait(event);
    event.wait();
  }
  stream_->synchronize();
  EXPECT_EQ(allocations(), before);
}

TEST_P(GemmTest, NoRows) {
  const LayoutWeight weight(dtype_, 64, 64, random_);
  Matrix source(dtype_, 0, 64), target(DType::kF32, 0, 64);
  run({.source = source.view(),
       .weight = weight.view(WeightLayout::kTile64),
       .target = target.view()});
}

}  // namespace
}  // namespace zerostream
