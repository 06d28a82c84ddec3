// Products with quantised weights on every instruction set that this machine has: against double
// precision, and the same bits however rows and outputs are cut.
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

constexpr Case kCases[] = {{DType::kI8, CpuIsa::kAvx2},       {DType::kI4, CpuIsa::kAvx2},
                           {DType::kI8, CpuIsa::kAvx512},     {DType::kI4, CpuIsa::kAvx512},
                           {DType::kI8, CpuIsa::kAvx512Bf16}, {DType::kI4, CpuIsa::kAvx512Bf16},
                           {DType::kI8, CpuIsa::kAmx},        {DType::kI4, CpuIsa::kAmx}};

// How a product is computed.
struct Mode {
  DType source = DType::kF32;
  bool int8_activations = false;
  int32_t group_size = 64;
  bool has_zeros = false;

  std::string name() const {
    return std::string(dtype_name(source)) + (int8_activations ? " as integers" : "") +
           ", groups of " + std::to_string(group_size) + (has_zeros ? " with zeros" : "");
  }
  // Weights may be rounded to the type of the source: by half of its last bit.
  double limit() const {
    if (int8_activations || source == DType::kF32) return 1e-12;
    return source == DType::kF16 ? 2.4e-7 : 1.6e-5;
  }
};

std::vector<Mode> all_modes() {
  std::vector<Mode> modes;
  for (const int32_t group_size : {32, 64, 128})
    for (const bool has_zeros : {false, true})
      for (const DType source : {DType::kF32, DType::kF16, DType::kBF16})
        for (const bool int8_activations : {false, true})
          modes.push_back({source, int8_activations, group_size, has_zeros});
  return modes;
}

Matrix make_source(DType dtype, int64_t rows, int64_t inputs, std::mt19937& random) {
  Matrix source(dtype, rows, inputs, round_up(inputs, 128));
  source.randomise(random);
  return source;
}

// Random integers, scales and zeros in tiles.
class Weight {
 public:
  Weight(DType dtype, const Mode& mode, int64_t outputs, int64_t inputs, std::mt19937& random)
      : weight_{nullptr, dtype,           WeightLayout::kTile64, outputs,
                inputs,  mode.group_size, mode.has_zeros},
        memory_(allocate_host(weight_.bytes())) {
    weight_.data = memory_.data();
    std::uniform_int_distribution<int> any(0, dtype == DType::kI8 ? 255 : 15);
    std::uniform_real_distribution<float> scale(0.5f, 2.0f);
    const int neutral = dtype == DType::kI8 ? 128 : 8;
    for (int64_t o = 0; o < round_up(outputs, 64); ++o) {
      int zero = neutral;
      for (int64_t i = 0; i < round_up(inputs, tile_inputs(dtype)); ++i) {
        if (i % mode.group_size == 0 && i < inputs) {
          zero = mode.has_zeros ? any(random) : neutral;
          set_group(o, i / mode.group_size, scale(random) / static_cast<float>(8 * neutral), zero);
        }
        set(o, i, o < outputs && i < inputs ? any(random) : zero);
      }
    }
  }
  const PackedWeight& view() const { return weight_; }
  // Outputs [begin, begin + count); begin is a multiple of 64.
  PackedWeight outputs(int64_t begin, int64_t count) const {
    PackedWeight part = weight_;
    part.data += begin / 64 * part.panel_bytes();
    part.outputs = count;
    return part;
  }

 private:
  std::byte* panel(int64_t output) const {
    return memory_.data() + output / 64 * weight_.panel_bytes();
  }
  void set(int64_t output, int64_t input, int q) {
    const int64_t span = tile_inputs(weight_.dtype);
    const int64_t within = input % 64;
    std::byte& byte =
        panel(output)[input / span * 4096 + within / 4 * 256 + output % 64 * 4 + within % 4];
    byte |= static_cast<std::byte>(input % span < 64 ? q : q << 4);
  }
  void set_group(int64_t output, int64_t group, float scale, int zero) {
    std::byte* entry =
        panel(output) + weight_.tiles_bytes() + group * (weight_.has_zeros ? 192 : 128);
    store_float(entry, DType::kF16, output % 64, scale);
    if (weight_.has_zeros) entry[128 + output % 64] = static_cast<std::byte>(zero);
  }

  PackedWeight weight_;
  Buffer memory_;
};

class QuantisedGemmTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (detect_cpu_isa() < GetParam().isa)
      GTEST_SKIP() << "this machine has no " << cpu_isa_name(GetParam().isa);
  }

  static CpuStreamOptions options(int workers) {
    return {.workers = workers,
            .isa = GetParam().isa,
            .scratch_bytes = kLinearScratchBytes,
            .shared_scratch_bytes = kLinearSharedScratchBytes};
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
  std::unique_ptr<CpuStream> stream_ = std::make_unique<CpuStream>(options(2));
  ReferenceKernels reference_;
};
INSTANTIATE_TEST_SUITE_P(Cpu, QuantisedGemmTest, ::testing::ValuesIn(kCases), case_name);

TEST_P(QuantisedGemmTest, MatchesDoublePrecision) {
  struct Shape {
    int64_t rows, inputs, outputs;
  };
  constexpr Shape kShapes[] = {{1, 1, 1},     {5, 100, 65},  {9, 128, 64}, {17, 200, 70},
                               {33, 300, 64}, {70, 160, 70}, {2, 1100, 64}};
  for (const Mode& mode : all_modes())
    for (const auto& [rows, inputs, outputs] : kShapes) {
      const Matrix source = make_source(mode.source, rows, inputs, random_);
      const Weight weight(dtype_, mode, outputs, inputs, random_);
      Matrix bias(DType::kF32, 1, outputs);
      bias.randomise(random_);
      Matrix actual(DType::kF32, rows, outputs), expected(DType::kF32, rows, outputs);
      LinearArgs args = {.source = source.view(),
                         .weight = weight.view(),
                         .bias = rows % 2 == 0 ? bias.floats() : nullptr,
                         .target = expected.view(),
                         .int8_activations = mode.int8_activations};
      run_reference(args);
      args.target = actual.view();
      run(args);
      ASSERT_LT(nmse(actual, expected), mode.limit())
          << mode.name() << ", " << rows << " rows, " << inputs << " inputs, " << outputs
          << " outputs";
    }
}

// The rounding of activations itself, which the reference shares.
TEST_P(QuantisedGemmTest, IntegerActivationsAreNearTheExact) {
  const int64_t rows = 20, inputs = 600, outputs = 100;
  const Matrix source = make_source(DType::kF32, rows, inputs, random_);
  const Weight weight(dtype_, {.group_size = 32}, outputs, inputs, random_);
  Matrix actual(DType::kF32, rows, outputs), expected(DType::kF32, rows, outputs);
  LinearArgs args = {.source = source.view(), .weight = weight.view(), .target = expected.view()};
  run_reference(args);
  args.target = actual.view();
  args.int8_activations = true;
  run(args);
  EXPECT_LT(nmse(actual, expected), 2e-4);
  EXPECT_GT(nmse(actual, expected), 1e-6);
}

TEST_P(QuantisedGemmTest, BitsOfARowDoNotDependOnTheCut) {
  constexpr int64_t kRows = 600, kOutputs = 200;
  for (const bool int8_activations : {false, true})
    for (const int64_t inputs : {100, 2200}) {
      const Mode mode = {inputs == 100 ? DType::kF32 : DType::kBF16, int8_activations,
                         inputs == 100 ? 32 : 128, inputs == 100};
      const Matrix source = make_source(mode.source, kRows, inputs, random_);
      const Weight weight(dtype_, mode, kOutputs, inputs, random_);
      const auto multiply = [&](const PackedWeight& part, int64_t row, int64_t rows) {
        Matrix target(DType::kF32, rows, part.outputs);
        run({.source = source.view().row_range(row, rows),
             .weight = part,
             .target = target.view(),
             .int8_activations = int8_activations});
        return target;
      };
      const Matrix all = multiply(weight.view(), 0, kRows);
      const auto expect_same = [&](const Matrix& part, int64_t row, int64_t col) {
        for (int64_t i = 0; i < part.rows(); ++i)
          ASSERT_EQ(part.row_bytes(i),
                    all.row_bytes(row + i).substr(4 * static_cast<size_t>(col), 4 * part.cols()))
              << mode.name() << ", row " << i << " of " << part.rows() << " from row " << row
              << ", column " << col;
      };
      std::vector<int64_t> counts = {128, 513};
      for (int64_t rows = 1; rows <= 70; ++rows) counts.push_back(rows);
      for (const int64_t rows : counts) {
        const int64_t begin = rows * 7 % (kRows - rows + 1);
        expect_same(multiply(weight.view(), begin, rows), begin, 0);
      }
      for (const int64_t begin : {0, 64, 128, 192})
        for (const int64_t rows : {1, 33, 300}) {
          const int64_t outputs = std::min<int64_t>(begin == 0 ? 100 : 64, kOutputs - begin);
          expect_same(multiply(weight.outputs(begin, outputs), 3, rows), 3, begin);
        }
      for (const int workers : {1, 5}) {
        stream_ = std::make_unique<CpuStream>(options(workers));
        expect_same(multiply(weight.view(), 0, kRows), 0, 0);
      }
      CpuStreamOptions little = options(2);  // a few rows of integers at once
      little.shared_scratch_bytes = 40000;
      stream_ = std::make_unique<CpuStream>(little);
      expect_same(multiply(weight.view(), 0, kRows), 0, 0);
      stream_ = std::make_unique<CpuStream>(options(2));
    }
}

TEST_P(QuantisedGemmTest, IntegerActivationsHaveTheSameBitsOnEveryInstructionSet) {
  for (const Mode& mode : all_modes()) {
    if (!mode.int8_activations) continue;
    const int64_t rows = 45, inputs = 700, outputs = 130;
    const Matrix source = make_source(mode.source, rows, inputs, random_);
    const Weight weight(dtype_, mode, outputs, inputs, random_);
    Matrix actual(DType::kF32, rows, outputs), expected(DType::kF32, rows, outputs);
    LinearArgs args = {.source = source.view(),
                       .weight = weight.view(),
                       .target = actual.view(),
                       .int8_activations = true};
    run(args);
    CpuStreamOptions plain = options(1);
    plain.isa = CpuIsa::kAvx2;
    CpuStream stream(plain);
    args.target = expected.view();
    cpu_linear(args, stream);
    stream.synchronize();
    for (int64_t row = 0; row < rows; ++row)
      ASSERT_EQ(actual.row_bytes(row), expected.row_bytes(row)) << mode.name() << ", row " << row;
  }
}

TEST_P(QuantisedGemmTest, EpiloguesInEveryTargetType) {
  const int64_t inputs = 96, cols = 150, rows = 21;
  for (const bool int8_activations : {false, true}) {
    const Mode mode = {DType::kF32, int8_activations, 32, true};
    const Matrix source = make_source(mode.source, rows, inputs, random_);
    for (const Epilogue epilogue :
         {Epilogue::kStore, Epilogue::kAdd, Epilogue::kActivate, Epilogue::kGated}) {
      const int64_t outputs = epilogue == Epilogue::kGated ? 2 * round_up(cols, 64) : cols;
      const Weight weight(dtype_, mode, outputs, inputs, random_);
      Matrix bias(DType::kF32, 1, outputs);
      bias.randomise(random_);
      for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
        if (epilogue == Epilogue::kAdd && type != DType::kF32) continue;
        Matrix actual(type, rows, cols), expected(type, rows, cols);
        actual.randomise(random_);
        expected.fill(actual.values());
        LinearArgs args = {.source = source.view(),
                           .weight = weight.view(),
                           .bias = bias.floats(),
                           .epilogue = epilogue,
                           .activation = Activation::kSilu,
                           .target = actual.view(),
                           .int8_activations = int8_activations};
        run(args);
        args.target = expected.view();
        run_reference(args);
        ASSERT_LT(nmse(actual, expected), nmse_limit(type))
            << mode.name() << ", epilogue " << static_cast<int>(epilogue) << ", "
            << dtype_name(type);
      }
    }
  }
}

TEST_P(QuantisedGemmTest, IntegerActivationsOfUnusualRows) {
  const int64_t inputs = 130, outputs = 64;
  Matrix source = make_source(DType::kF32, 4, inputs, random_);
  for (int64_t i = 0; i < inputs; ++i) source.set(1, i, 0.0f);
  for (int64_t i = 0; i < inputs; ++i) source.set(2, i, i % 3 == 0 ? 1e-38f : -1e-40f);
  source.set(3, 77, std::nanf(""));
  const Weight weight(dtype_, {}, outputs, inputs, random_);
  Matrix target(DType::kF32, 4, outputs);
  run({.source = source.view(),
       .weight = weight.view(),
       .target = target.view(),
       .int8_activations = true});
  for (int64_t i = 0; i < outputs; ++i) {
    EXPECT_TRUE(std::isfinite(target.at(0, i)));
    EXPECT_EQ(target.at(1, i), 0.0f);
    EXPECT_NEAR(target.at(2, i), 0.0f, 1e-30f);
    EXPECT_TRUE(std::isnan(target.at(3, i)));
  }
}

TEST_P(QuantisedGemmTest, RefusesWhatDoesNotFit) {
  const Matrix source = make_source(DType::kF32, 4, 64, random_);
  const Weight weight(dtype_, {}, 128, 64, random_);
  Matrix target(DType::kF32, 4, 128);
  const LinearArgs good = {.source = source.view(),
                           .weight = weight.view(),
                           .target = target.view(),
                           .int8_activations = true};
  run(good);
  const auto refused = [&](const std::function<void(LinearArgs&)>& change) {
    LinearArgs args = good;
    change(args);
    EXPECT_THROW(cpu_linear(args, *stream_), InternalError);
  };
  refused([](LinearArgs& args) { args.weight.group_size = 0; });
  refused([](LinearArgs& args) { args.weight.group_size = 16; });
  refused([](LinearArgs& args) { args.weight.group_size = 256; });
  refused([](LinearArgs& args) { args.weight.layout = WeightLayout::kRows; });
  refused([](LinearArgs& args) { args.weight.data = nullptr; });
  refused([](LinearArgs& args) { args.weight.data += 4; });
  refused([](LinearArgs& args) { args.weight.inputs = 60; });
  refused([](LinearArgs& args) { args.source.row_stride = 64; });
  refused([](LinearArgs& args) { args.source.dtype = DType::kI8; });
  refused([](LinearArgs& args) { args.weight.dtype = DType::kF32; });
  refused([](LinearArgs& args) {
    args.weight.dtype = DType::kF32;
    args.weight.group_size = 0;
  });
  refused([](LinearArgs& args) {
    args.weight.dtype = DType::kF32;
    args.int8_activations = false;
  });
  CpuStreamOptions no_shared = options(1);
  no_shared.shared_scratch_bytes = 0;
  CpuStream stream(no_shared);
  EXPECT_THROW(cpu_linear(good, stream), InternalError);
}

TEST_P(QuantisedGemmTest, DoesNotAllocate) {
  const Matrix source = make_source(DType::kBF16, 100, 300, random_);
  const Weight weight(dtype_, {}, 200, 300, random_);
  Matrix target(DType::kF32, 100, 200);
  CpuEvent event;
  const int64_t before = allocations();
  for (const bool int8_activations : {false, true}) {
    cpu_linear({.source = source.view(),
                .weight = weight.view(),
                .target = target.view(),
                .int8_activations = int8_activations},
               *stream_);
    stream_->record(event);
    event.wait();
  }
  stream_->synchronize();
  EXPECT_EQ(allocations(), before);
}

}  // namespace
}  // namespace zerostream
