// Fast kernels against the reference, at every instruction set.
#include <gmock/gmock.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "tests/cpu/backends.h"
#include "tests/cpu/kernel_fixture.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr DType kFloatTypes[] = {DType::kF32, DType::kF16, DType::kBF16};
constexpr DType kKvTypes[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kI8};
constexpr int64_t kWidths[] = {1, 2, 7, 15, 16, 17, 31, 64, 65, 100, 576, 1023};

using KernelsTest = BackendTest;
INSTANTIATE_TEST_SUITE_P(Cpu, KernelsTest, ::testing::ValuesIn(kBackends), backend_name);

TEST_P(KernelsTest, Embed) {
  std::mt19937 random(1);
  for (const DType dtype : kFloatTypes)
    for (const int64_t cols : kWidths)
      for (const bool accumulate : {false, true}) {
        const Matrix table = std::move(Matrix(dtype, 11, cols).randomise(random));
        std::vector<int64_t> offsets;
        for (int i = 0; i < 300; ++i)
          offsets.push_back(dtype_bytes(dtype, static_cast<int64_t>(random() % 11) * cols));
        Matrix actual = std::move(Matrix(DType::kF32, 300, cols, cols + 3).randomise(random));
        Matrix expected(DType::kF32, 300, cols);
        expected.fill(actual.values());
        EmbedArgs args = {table.view().data, dtype, offsets.data(), accumulate, actual.view()};
        kernels_.embed(args, *stream_);
        args.target = expected.view();
        reference_.embed(args, *stream_);
        stream_->synchronize();
        ASSERT_EQ(actual.values(), expected.values()) << dtype_name(dtype) << ' ' << cols;
      }
}

TEST_P(KernelsTest, ConvertMatchesScalarConversionToTheBit) {
  for (const DType from : kFloatTypes)
    for (const DType to : kFloatTypes) {
      const int64_t cols = 65536 + 5;
      Matrix source(from, 2, cols), actual(to, 2, cols), expected(to, 2, cols);
      std::mt19937 random(2);
      for (int64_t i = 0; i < 2 * cols; ++i) {  // every 16-bit pattern, and as many random floats
        const uint32_t bits = from == DType::kF32 ? static_cast<uint32_t>(random()) : 0;
        if (from == DType::kF32)
          std::memcpy(source.view().row(0) + 4 * i, &bits, 4);
        else
          source.view().row_as<uint16_t>(0)[i] = static_cast<uint16_t>(i);
      }
      kernels_.convert({source.view(), actual.view()}, *stream_);
      reference_.convert({source.view(), expected.view()}, *stream_);
      stream_->synchronize();
      for (int64_t col = 0; col < 2 * cols; ++col) {
        const float truth = expected.at(col / cols, col % cols);
        const float got = actual.at(col / cols, col % cols);
        ASSERT_TRUE(std::isnan(truth)
                        ? std::isnan(got)
                        : std::bit_cast<uint32_t>(truth) == std::bit_cast<uint32_t>(got))
            << dtype_name(from) << " to " << dtype_name(to) << ": " << truth << " is not " << got;
      }
    }
}

TEST_P(KernelsTest, Norm) {
  std::mt19937 random(3);
  for (const DType dtype : kFloatTypes)
    for (const int64_t cols : kWidths)
      for (const NormKind kind : {NormKind::kRmsNorm, NormKind::kLayerNorm}) {
        if (kind == NormKind::kLayerNorm && cols == 1)
          continue;  // 0 / sqrt(epsilon): only rounding
        Matrix source(DType::kF32, 70, cols);
        source.randomise(random, 3.0f);
        Matrix weight(DType::kF32, 1, cols), bias(DType::kF32, 1, cols);
        weight.randomise(random);
        bias.randomise(random);
        std::vector<int32_t> indices;
        for (int i = 0; i < 33; ++i) indices.push_back(static_cast<int32_t>(random() % 70));
        Matrix actual(dtype, 33, cols), expected(dtype, 33, cols);
        NormArgs args = {.kind = kind,
                         .source = source.view(),
                         .weight = weight.floats(),
                         .bias = kind == NormKind::kLayerNorm ? bias.floats() : nullptr,
                         .row_indices = indices.data(),
                         .target = actual.view()};
        kernels_.norm(args, *stream_);
        args.target = expected.view();
        reference_.norm(args, *stream_);
        stream_->synchronize();
        ASSERT_LT(nmse(actual, expected), nmse_limit(dtype)) << dtype_name(dtype) << ' ' << cols;
      }
}

TEST_P(KernelsTest, NormInPlaceWithoutWeight) {
  std::mt19937 random(4);
  Matrix source(DType::kF32, 40, 100);
  source.randomise(random);
  Matrix expected(DType::kF32, 40, 100);
  reference_.norm({.source = source.view(), .target = expected.view()}, *stream_);
  kernels_.norm({.source = source.view(), .target = source.view()}, *stream_);
  stream_->synchronize();
  EXPECT_LT(nmse(source, expected), nmse_limit(DType::kF32));
}

TEST_P(KernelsTest, NormOfARowHasTheSameBitsAlone) {
  std::mt19937 random(5);
  Matrix source(DType::kF32, 50, 577);
  source.randomise(random);
  Matrix together(DType::kBF16, 50, 577), alone(DType::kBF16, 50, 577);
  kernels_.norm({.source = source.view(), .target = together.view()}, *stream_);
  for (int64_t row = 0; row < 50; ++row)
    kernels_.norm(
        {.source = source.view().row_range(row, 1), .target = alone.view().row_range(row, 1)},
        *stream_);
  stream_->synchronize();
  for (int64_t row = 0; row < 50; ++row) ASSERT_EQ(together.row_bytes(row), alone.row_bytes(row));
}

TEST_P(KernelsTest, Linear) {
  std::mt19937 random(6);
  for (const DType dtype : kFloatTypes)
    for (const Epilogue epilogue :
         {Epilogue::kStore, Epilogue::kAdd, Epilogue::kActivate, Epilogue::kGated}) {
      const int64_t rows = 5, inputs = 37, cols = 70;
      const int64_t outputs = epilogue == Epilogue::kGated ? 256 : cols;
      Matrix source(dtype, rows, inputs, 64), weight(dtype, outputs, inputs);
      source.randomise(random);
      weight.randomise(random);
      Matrix bias(DType::kF32, 1, outputs);
      bias.randomise(random);
      Matrix actual(DType::kF32, rows, cols), expected(DType::kF32, rows, cols);
      actual.randomise(random);
      expected.fill(actual.values());
      LinearArgs args = {
          .source = source.view(),
          .weight = {weight.view().data, dtype, WeightLayout::kRows, outputs, inputs},
          .bias = bias.floats(),
          .epilogue = epilogue,
          .activation = Activation::kSilu,
          .target = actual.view()};
      kernels_.linear(args, *stream_);
      args.target = expected.view();
      reference_.linear(args, *stream_);
      stream_->synchronize();
      ASSERT_LT(nmse(actual, expected), 1e-9) << dtype_name(dtype);
    }
}

constexpr KvShape kShapes[] = {{1, 1, 1, 2},    {2, 1, 7, 3},    {1, 3, 8, 16},  {2, 2, 16, 5},
                               {1, 5, 40, 16},  {3, 3, 64, 16},  {1, 2, 80, 7},  {1, 1, 96, 64},
                               {2, 4, 128, 16}, {1, 1, 256, 32}, {1, 71, 64, 16}};

TEST_P(KernelsTest, WriteKv) {
  std::mt19937 random(7);
  for (const KvShape& shape : kShapes)
    for (const DType dtype : kKvTypes)
      for (const RopeKind rope : {RopeKind::kNone, RopeKind::kHalf, RopeKind::kInterleaved})
        for (const bool normed : {false, true}) {
          const KvBatch batch({{0, 21}, {5, 1}, {30, 2}}, shape.block_tokens, random);
          const int32_t dim = shape.head_dim;
          const int32_t rope_cols = rope == RopeKind::kNone ? 0 : dim > 16 ? dim / 2 - 3 : dim / 2;
          const int64_t heads = int64_t{shape.kv_heads} * shape.group;
          Matrix qkv(DType::kF32, batch.rows, (heads + 2 * shape.kv_heads) * dim);
          Matrix norms(DType::kF32, 2, dim),
              angles(DType::kF32, batch.rows, std::max(1, rope_cols));
          qkv.randomise(random);
          norms.randomise(random);
          angles.randomise(random, 3.0f);
          Matrix cosines(DType::kF32, angles.rows(), angles.cols());
          Matrix sines(DType::kF32, angles.rows(), angles.cols());
          for (int64_t i = 0; i < angles.rows() * angles.cols(); ++i) {
            cosines.set(0, i, std::cos(angles.at(0, i)));
            sines.set(0, i, std::sin(angles.at(0, i)));
          }
          KvPool actual_kv(dtype, shape.kv_heads, dim, shape.block_tokens, batch.blocks);
          KvPool expected_kv(dtype, shape.kv_heads, dim, shape.block_tokens, batch.blocks);
          Matrix actual(DType::kF32, batch.rows, heads * dim);
          Matrix expected(DType::kF32, batch.rows, heads * dim);
          WriteKvArgs args = {.qkv = qkv.view(),
                              .query_norm = normed ? norms.view().row_as<float>(0) : nullptr,
                              .key_norm = normed ? norms.view().row_as<float>(1) : nullptr,
                              .rope = rope,
                              .rope_cols = rope_cols,
                              .rope_cos = cosines.floats(),
                              .rope_sin = sines.floats(),
                              .sequences = batch.spans.data(),
                              .num_sequences = static_cast<int32_t>(batch.spans.size()),
                              .kv = actual_kv.view(),
                              .query = actual.view()};
          kernels_.write_kv(args, *stream_);
          args.kv = expected_kv.view();
          args.query = expected.view();
          reference_.write_kv(args, *stream_);
          stream_->synchronize();
          ASSERT_LT(nmse(actual, expected), 1e-11);
          double error = 0, power = 1e-30;
          for (size_t s = 0; s < batch.spans.size(); ++s)
            for (int32_t i = 0; i < batch.spans[s].rows; ++i)
              for (int64_t head = 0; head < shape.kv_heads; ++head)
                for (int64_t col = 0; col < dim; ++col) {
                  const int64_t position = batch.spans[s].position_begin + i;
                  const double key = expected_kv.key(batch.tables[s], position, head, col);
                  error += std::pow(actual_kv.key(batch.tables[s], position, head, col) - key, 2);
                  power += key * key;
                  const float value = expected_kv.value(batch.tables[s], position, head, col);
                  const float step = expected_kv.value_scale(batch.tables[s], position, head);
                  ASSERT_NEAR(actual_kv.value(batch.tables[s], position, head, col), value,
                              1.01f * step);
                }
          ASSERT_LT(error / power, nmse_limit(dtype)) << dtype_name(dtype) << ' ' << dim;
        }
}

struct AttentionCase {
  int32_t window;
  bool alibi;
  DType target;
};
constexpr AttentionCase kAttentionCases[] = {{0, false, DType::kF32},  {0, true, DType::kF16},
                                             {1, false, DType::kF32},  {37, false, DType::kBF16},
                                             {64, false, DType::kF32}, {100, true, DType::kF32}};

TEST_P(KernelsTest, Attention) {
  std::mt19937 random(8);
  for (const KvShape& shape : kShapes)
    for (const DType dtype : kKvTypes)
      for (const AttentionCase& variant : kAttentionCases) {
        const bool large = shape.head_dim * shape.kv_heads * shape.group > 600;
        const KvBatch batch(large ? std::vector<std::pair<int32_t, int32_t>>{{60, 9}, {130, 1}}
                                  : std::vector<std::pair<int32_t, int32_t>>{{0, 1},
                                                                             {0, 70},
                                                                             {150, 1},
                                                                             {63, 1},
                                                                             {64, 1},
                                                                             {5, 0},
                                                                             {99, 40}},
                            shape.block_tokens, random);
        const int64_t cols = int64_t{shape.kv_heads} * shape.group * shape.head_dim;
        KvPool kv(dtype, shape.kv_heads, shape.head_dim, shape.block_tokens, batch.blocks);
        for (size_t s = 0; s < batch.spans.size(); ++s)
          kv.randomise(batch.tables[s], batch.spans[s].position_begin + batch.spans[s].rows,
                       random);
        Matrix query(DType::kF32, batch.rows, cols);
        Matrix slopes(DType::kF32, 1, cols / shape.head_dim);
        query.randomise(random);
        slopes.randomise(random, 0.1f);
        Matrix actual(variant.target, batch.rows, cols), expected(variant.target, batch.rows, cols);
        AttentionArgs args = {.query = query.view(),
                              .kv = kv.view(),
                              .sequences = batch.spans.data(),
                              .num_sequences = static_cast<int32_t>(batch.spans.size()),
                              .scale = 1.5f / std::sqrt(static_cast<float>(shape.head_dim)),
                              .sliding_window = variant.window,
                              .alibi_slopes = variant.alibi ? slopes.floats() : nullptr,
                              .target = actual.view()};
        kernels_.attention(args, *stream_);
        args.target = expected.view();
        reference_.attention(args, *stream_);
        stream_->synchronize();
        ASSERT_LT(nmse(actual, expected), nmse_limit(variant.target))
            << "kv " << dtype_name(dtype) << ", head_dim " << shape.head_dim << ", group "
            << shape.group << ", window " << variant.window;
      }
}

// Contexts of several pieces, of which a window may leave out the first; few rows and many.
TEST_P(KernelsTest, AttentionOverLongContexts) {
  std::mt19937 random(10);
  for (const DType dtype : kKvTypes)
    for (const int32_t window : {0, 512, 700}) {
      const KvBatch batch({{2099, 1}, {511, 1}, {512, 1}, {1000, 40}, {3, 1}}, 16, random);
      KvPool kv(dtype, 2, 16, 16, batch.blocks);
      for (size_t s = 0; s < batch.spans.size(); ++s)
        kv.randomise(batch.tables[s], batch.spans[s].position_begin + batch.spans[s].rows, random);
      Matrix query(DType::kF32, batch.rows, 96), slopes(DType::kF32, 1, 6);
      query.randomise(random);
      slopes.randomise(random, 0.01f);
      Matrix actual(DType::kF32, batch.rows, 96), expected(DType::kF32, batch.rows, 96);
      AttentionArgs args = {.query = query.view(),
                            .kv = kv.view(),
                            .sequences = batch.spans.data(),
                            .num_sequences = static_cast<int32_t>(batch.spans.size()),
                            .scale = 0.4f,
                            .sliding_window = window,
                            .alibi_slopes = slopes.floats(),
                            .target = actual.view()};
      kernels_.attention(args, *stream_);
      args.target = expected.view();
      reference_.attention(args, *stream_);
      stream_->synchronize();
      ASSERT_LT(nmse(actual, expected), nmse_limit(DType::kF32))
          << "kv " << dtype_name(dtype) << ", window " << window;
    }
}

// What is not finite in a head makes its scale NaN, zeros have scale 0.
TEST_P(KernelsTest, Int8KvOfZerosAndOfWhatIsNotFinite) {
  for (const float bad : {0.0f, std::nanf(""), std::numeric_limits<float>::infinity()})
    for (const bool reference : {false, true}) {
      KvPool kv(DType::kI8, 1, 20, 16, 1);
      const std::vector<int32_t> table = {-1};
      const SequenceSpan span = {0, 1, 5, table.data()};
      Matrix qkv(DType::kF32, 1, 60), query(DType::kF32, 1, 20);
      qkv.set(0, 20 + 17, bad);  // of the key; the value is 0
      Kernels& kernels = reference ? static_cast<Kernels&>(reference_) : kernels_;
      kernels.write_kv({.qkv = qkv.view(),
                        .sequences = &span,
                        .num_sequences = 1,
                        .kv = kv.view(),
                        .query = query.view()},
                       *stream_);
      stream_->synchronize();
      EXPECT_EQ(std::isnan(kv.key_scale(table, 5, 0)), bad != 0.0f);
      EXPECT_EQ(kv.value_scale(table, 5, 0), 0.0f);
      EXPECT_EQ(kv.value(table, 5, 0, 3), 0.0f);
      EXPECT_EQ(std::isnan(kv.key(table, 5, 0, 3)), bad != 0.0f);
    }
}

TEST_P(KernelsTest, AttentionOfNothingFiniteIsNan) {
  KvPool kv(DType::kF32, 1, 8, 16, 1);  // cells are NaN
  const std::vector<int32_t> table = {0};
  const SequenceSpan span = {0, 1, 3, table.data()};
  Matrix query(DType::kF32, 1, 8), target(DType::kF32, 1, 8);
  kernels_.attention({.query = query.view(),
                      .kv = kv.view(),
                      .sequences = &span,
                      .num_sequences = 1,
                      .target = target.view()},
                     *stream_);
  stream_->synchronize();
  for (const float value : target.values()) EXPECT_TRUE(std::isnan(value));
}

// A position with a broken key or value spoils those rows that see it, and no bit of the others.
TEST_P(KernelsTest, AttentionTakesNothingFromMaskedPositions) {
  constexpr int32_t kWindow = 30, kBroken = 40, kBegin = 15, kRows = 85;
  std::mt19937 random(9);
  for (const DType dtype : {DType::kF32, DType::kI8}) {
    KvPool kv(dtype, 1, 16, 16, 7);
    const std::vector<int32_t> table = shuffled_blocks(7, random);
    kv.randomise(table, kBegin + kRows, random);
    const SequenceSpan span = {0, kRows, kBegin, table.data()};
    Matrix query(DType::kF32, kRows, 48), clean(DType::kF32, kRows, 48),
        broken(DType::kF32, kRows, 48);
    query.randomise(random);
    AttentionArgs args = {.query = query.view(),
                          .kv = kv.view(),
                          .sequences = &span,
                          .num_sequences = 1,
                          .sliding_window = kWindow,
                          .target = clean.view()};
    kernels_.attention(args, *stream_);
    stream_->synchronize();
    args.target = broken.view();
    const int64_t block = table[kBroken / 16], slot = kBroken % 16;
    const bool scaled = dtype == DType::kI8;
    for (float* cell : {scaled ? kv.view().key_scales(block, 0) + slot
                               : reinterpret_cast<float*>(kv.view().key(block, 0)) + slot * 16,
                        scaled ? kv.view().value_scales(block, 0) + slot
                               : reinterpret_cast<float*>(kv.view().value(block, 0)) + slot * 16}) {
      const float before = std::exchange(*cell, std::nanf(""));
      kernels_.attention(args, *stream_);
      stream_->synchronize();
      *cell = before;
      for (int32_t row = 0; row < kRows; ++row) {
        const int32_t position = kBegin + row;
        if (position < kBroken || position >= kBroken + kWindow)
          EXPECT_EQ(broken.row_bytes(row), clean.row_bytes(row)) << position;
        else
          EXPECT_TRUE(std::isnan(broken.at(row, 0))) << position;
      }
    }
  }
}

TEST_P(KernelsTest, WrongArgumentsThrowAtTheCall) {
  const Matrix source(DType::kF32, 2, 3);
  Matrix narrow(DType::kF32, 2, 2);
  EXPECT_THROW(kernels_.norm({.source = source.view(), .target = narrow.view()}, *stream_),
               InternalError);
  EXPECT_THROW(
      kernels_.attention({.query = source.view(), .kv = {}, .target = narrow.view()}, *stream_),
      InternalError);
  const Matrix logits(DType::kF32, 1, kMaxVocabulary + 1);
  const SampleRow row;
  SampleResult result;
  EXPECT_THROW(kernels_.sample({logits.view(), &row, &result}, *stream_), InternalError);
}

}  // namespace
}  // namespace zerostream
