// Small truths of the reference kernels, worked out by hand.
#include <gmock/gmock.h>

#include <cmath>

#include "cpu/reference_kernels.h"
#include "tests/cpu/kernel_fixture.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::Pointwise;

class ReferenceTest : public ::testing::Test {
 protected:
  CpuDevice device_{{.threads = 1}};
  std::unique_ptr<Stream> stream_ = device_.make_compute_stream();
  ReferenceKernels kernels_;
};

TEST_F(ReferenceTest, EmbedReadsRowsAtOffsetsAndAdds) {
  const Matrix table = std::move(Matrix(DType::kBF16, 3, 2).fill({1, 2, 3, 4, 5, 6}));
  Matrix target(DType::kF32, 2, 2);
  const int64_t offsets[] = {8, 4};
  EmbedArgs args = {table.view().data, DType::kBF16, offsets, false, target.view()};
  kernels_.embed(args, *stream_);
  args.accumulate = true;
  kernels_.embed(args, *stream_);
  stream_->synchronize();
  EXPECT_THAT(target.values(), ElementsAre(10, 12, 6, 8));
}

TEST_F(ReferenceTest, RmsNormDividesByRootMeanSquare) {
  const Matrix source = std::move(Matrix(DType::kF32, 2, 2).fill({3, 4, 1, -1}));
  Matrix target(DType::kF32, 2, 2);
  const float weight[] = {1, 2};
  kernels_.norm({.source = source.view(), .weight = weight, .epsilon = 0, .target = target.view()},
                *stream_);
  stream_->synchronize();
  const float root = std::sqrt(12.5f);
  EXPECT_THAT(target.values(), Pointwise(FloatNear(1e-6f), {3 / root, 8 / root, 1.0f, -2.0f}));
}

TEST_F(ReferenceTest, LayerNormGathersRowsAndSubtractsTheMean) {
  const Matrix source = std::move(Matrix(DType::kF32, 3, 2).fill({0, 0, 9, 9, 1, 5}));
  Matrix target(DType::kF32, 1, 2);
  const float weight[] = {10, 10}, bias[] = {1, 2};
  const int32_t rows[] = {2};
  kernels_.norm({.kind = NormKind::kLayerNorm,
                 .source = source.view(),
                 .weight = weight,
                 .bias = bias,
                 .epsilon = 0,
                 .row_indices = rows,
                 .target = target.view()},
                *stream_);
  stream_->synchronize();
  EXPECT_THAT(target.values(), Pointwise(FloatNear(1e-5f), {-9.0f, 12.0f}));
}

TEST_F(ReferenceTest, ConvertRoundsToNearestEven) {
  // bf16 has 8 bits of mantissa: 257 and 259 lie halfway between neighbours.
  const Matrix source = std::move(Matrix(DType::kF32, 1, 3).fill({257, 259, -1.5f}));
  Matrix target(DType::kBF16, 1, 3);
  kernels_.convert({source.view(), target.view()}, *stream_);
  stream_->synchronize();
  EXPECT_THAT(target.values(), ElementsAre(256, 260, -1.5f));
}

TEST_F(ReferenceTest, LinearMultipliesByTheTransposedWeight) {
  const Matrix source = std::move(Matrix(DType::kF32, 2, 2).fill({1, 2, 3, 4}));
  const Matrix weight = std::move(Matrix(DType::kF32, 2, 2).fill({5, 6, 7, 8}));
  Matrix target = std::move(Matrix(DType::kF32, 2, 2).fill({1000, 1000, 1000, 1000}));
  const float bias[] = {100, 200};
  LinearArgs args = {.source = source.view(),
                     .weight = {weight.view().data, DType::kF32, WeightLayout::kRows, 2, 2},
                     .bias = bias,
                     .epilogue = Epilogue::kAdd,
                     .target = target.view()};
  kernels_.linear(args, *stream_);
  stream_->synchronize();
  EXPECT_THAT(target.values(), ElementsAre(1117, 1223, 1139, 1253));
}

// The position of weight [output][input] in tiles, by counting as base/tensor.h says it.
TEST_F(ReferenceTest, LinearReadsTilesAndGates) {
  // bf16: 40 inputs are two tiles of 32; one gate panel and one up panel.
  const int64_t inputs = 40, tiles_per_panel = 2;
  std::vector<uint16_t> tiles(2 * tiles_per_panel * 2048, 0);
  const auto put = [&](int64_t output, int64_t input, float value) {
    const int64_t tile = output / 64 * tiles_per_panel + input / 32;
    const int64_t within = input % 32;
    tiles[static_cast<size_t>(tile * 2048 + within / 2 * 128 + output % 64 * 2 + within % 2)] =
        float_to_bf16(value);
  };
  put(3, 0, 2);  // gate of target column 3: 2 * x[0] + 1 * x[39]
  put(3, 39, 1);
  put(64 + 3, 33, 5);  // up of target column 3: 5 * x[33]
  Matrix source(DType::kBF16, 1, inputs, 64);
  source.set(0, 0, 1.5f);
  source.set(0, 39, -1);
  source.set(0, 33, 3);
  Matrix target(DType::kF32, 1, 4);
  kernels_.linear({.source = source.view(),
                   .weight = {reinterpret_cast<const std::byte*>(tiles.data()), DType::kBF16,
                              WeightLayout::kTile64, 128, inputs},
                   .epilogue = Epilogue::kGated,
                   .activation = Activation::kSilu,
                   .target = target.view()},
                  *stream_);
  stream_->synchronize();
  const float gate = 2.0f / (1.0f + std::exp(-2.0f));
  EXPECT_THAT(target.values(), Pointwise(FloatNear(1e-5f), {0.0f, 0.0f, 0.0f, gate * 15}));
}

TEST_F(ReferenceTest, Activations) {
  const Matrix source = std::move(Matrix(DType::kF32, 1, 1).fill({-0.5f}));
  const Matrix weight = std::move(Matrix(DType::kF32, 1, 1).fill({2}));
  const std::pair<Activation, float> cases[] = {{Activation::kNone, -1.0f},
                                                {Activation::kRelu, 0.0f},
                                                {Activation::kGelu, -0.15865525f},
                                                {Activation::kGeluTanh, -0.15880801f},
                                                {Activation::kSilu, -0.26894142f}};
  for (const auto& [activation, expected] : cases) {
    Matrix target(DType::kF32, 1, 1);
    kernels_.linear({.source = source.view(),
                     .weight = {weight.view().data, DType::kF32, WeightLayout::kRows, 1, 1},
                     .epilogue = Epilogue::kActivate,
                     .activation = activation,
                     .target = target.view()},
                    *stream_);
    stream_->synchronize();
    EXPECT_NEAR(target.at(0, 0), expected, 1e-6f);
  }
}

// One row at position 1 of two query heads and one KV head of 4 columns, rotated by 90 degrees in
// its first pair and by 0 in its second.
class ReferenceRopeTest : public ReferenceTest {
 protected:
  void write(RopeKind rope) {
    const Matrix qkv = std::move(
        Matrix(DType::kF32, 1, 16).fill({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}));
    const float cosines[] = {0, 1}, sines[] = {1, 0};
    const SequenceSpan sequence = {0, 1, 1, table_.data()};
    kernels_.write_kv({.qkv = qkv.view(),
                       .rope = rope,
                       .rope_cols = 2,
                       .rope_cos = cosines,
                       .rope_sin = sines,
                       .sequences = &sequence,
                       .num_sequences = 1,
                       .kv = pool_.view(),
                       .query = query_.view()},
                      *stream_);
    stream_->synchronize();
    for (int64_t i = 0; i < 4; ++i) {
      key_.push_back(pool_.key(table_, 1, 0, i));
      value_.push_back(pool_.value(table_, 1, 0, i));
    }
  }

  std::vector<int32_t> table_ = {1};
  KvPool pool_{DType::kF32, 1, 4, 2, 2};
  Matrix query_{DType::kF32, 1, 8};
  std::vector<float> key_, value_;
};

TEST_F(ReferenceRopeTest, HalfPairsColumnsHalfAHeadApart) {
  write(RopeKind::kHalf);
  EXPECT_THAT(query_.values(), ElementsAre(-3, 2, 1, 4, -7, 6, 5, 8));
  EXPECT_THAT(key_, ElementsAre(-11, 10, 9, 12));
  EXPECT_THAT(value_, ElementsAre(13, 14, 15, 16));
}

TEST_F(ReferenceRopeTest, InterleavedPairsNeighbours) {
  write(RopeKind::kInterleaved);
  EXPECT_THAT(query_.values(), ElementsAre(-2, 1, 3, 4, -6, 5, 7, 8));
  EXPECT_THAT(key_, ElementsAre(-10, 9, 11, 12));
}

TEST_F(ReferenceTest, WriteKvNormalisesHeadsBeforeRotation) {
  const Matrix qkv = std::move(Matrix(DType::kF32, 1, 6).fill({3, 4, 6, 8, 1, 2}));
  KvPool pool(DType::kF32, 1, 2, 1, 1);
  Matrix query(DType::kF32, 1, 2);
  const std::vector<int32_t> table = {0};
  const SequenceSpan sequence = {0, 1, 0, table.data()};
  const float query_norm[] = {1, 10}, key_norm[] = {2, 1}, cosine[] = {0}, sine[] = {1};
  kernels_.write_kv({.qkv = qkv.view(),
                     .query_norm = query_norm,
                     .key_norm = key_norm,
                     .norm_epsilon = 0,
                     .rope = RopeKind::kHalf,
                     .rope_cols = 1,
                     .rope_cos = cosine,
                     .rope_sin = sine,
                     .sequences = &sequence,
                     .num_sequences = 1,
                     .kv = pool.view(),
                     .query = query.view()},
                    *stream_);
  stream_->synchronize();
  const float root = std::sqrt(12.5f);
  EXPECT_THAT(query.values(), Pointwise(FloatNear(1e-5f), {-40 / root, 3 / root}));
  EXPECT_NEAR(pool.key(table, 0, 0, 0), -4 / root, 1e-5f);
  EXPECT_NEAR(pool.key(table, 0, 0, 1), 6 / root, 1e-5f);
  EXPECT_EQ(pool.value(table, 0, 0, 1), 2);
}

TEST_F(ReferenceTest, WriteKvRoundsToInt8WithAScaleForEachHeadAndPosition) {
  // Two KV heads of 2 columns, of one query head each.
  const Matrix qkv =
      std::move(Matrix(DType::kF32, 1, 12).fill({0, 0, 0, 0, 127, 2.5f, -1, 0.25f, 0, 0, 3, -6}));
  KvPool pool(DType::kI8, 2, 2, 4, 2);
  Matrix query(DType::kF32, 1, 4);
  const std::vector<int32_t> table = {1, -2};
  const SequenceSpan sequence = {0, 1, 6, table.data()};
  kernels_.write_kv({.qkv = qkv.view(),
                     .sequences = &sequence,
                     .num_sequences = 1,
                     .kv = pool.view(),
                     .query = query.view()},
                    *stream_);
  stream_->synchronize();
  const auto numbers = [](const std::byte* cells) {
    const auto* q = reinterpret_cast<const int8_t*>(cells);
    return std::vector<int>{q[2 * 2], q[2 * 2 + 1]};  // slot 2
  };
  const KvLayerView& kv = pool.view();
  EXPECT_THAT(numbers(kv.key(-2, 0)), ElementsAre(127, 2));
  EXPECT_THAT(numbers(kv.key(-2, 1)), ElementsAre(-127, 32));
  EXPECT_THAT(numbers(kv.value(-2, 0)), ElementsAre(0, 0));
  EXPECT_THAT(numbers(kv.value(-2, 1)), ElementsAre(64, -127));
  EXPECT_EQ(kv.key_scales(-2, 0)[2], 1.0f);
  EXPECT_EQ(kv.key_scales(-2, 1)[2], 1.0f / 127);
  EXPECT_EQ(kv.value_scales(-2, 0)[2], 0.0f);
  EXPECT_EQ(kv.value_scales(-2, 1)[2], 6.0f / 127);
  EXPECT_NEAR(pool.value(table, 6, 1, 0), 3.0f, 6.0f / 254 + 1e-6f);
}

// Two positions, one column: keys 1 and 3, values 10 and 20, query 1 for both rows.
class ReferenceAttentionTest : public ReferenceTest {
 protected:
  std::vector<float> attend(int32_t window, const float* slopes) {
    KvPool pool(DType::kF32, 1, 1, 1, 2);
    const std::vector<int32_t> table = {1, 0};
    const float keys[] = {1, 3}, values[] = {10, 20};
    for (int64_t i = 0; i < 2; ++i) {
      store_float(pool.view().key(table[static_cast<size_t>(i)], 0), DType::kF32, 0, keys[i]);
      store_float(pool.view().value(table[static_cast<size_t>(i)], 0), DType::kF32, 0, values[i]);
    }
    const Matrix query = std::move(Matrix(DType::kF32, 2, 1).fill({1, 1}));
    Matrix target(DType::kF32, 2, 1);
    const SequenceSpan sequence = {0, 2, 0, table.data()};
    kernels_.attention({.query = query.view(),
                        .kv = pool.view(),
                        .sequences = &sequence,
                        .num_sequences = 1,
                        .scale = 0.5f,
                        .sliding_window = window,
                        .alibi_slopes = slopes,
                        .target = target.view()},
                       *stream_);
    stream_->synchronize();
    return target.values();
  }
};

TEST_F(ReferenceAttentionTest, SoftmaxOfTwoScores) {
  const float weight = 1 / (1 + std::exp(-1.0f));  // scores 0.5 and 1.5
  EXPECT_THAT(attend(0, nullptr), Pointwise(FloatNear(1e-5f), {10.0f, 10 + 10 * weight}));
}

TEST_F(ReferenceAttentionTest, WindowCountsTheOwnPosition) {
  EXPECT_THAT(attend(1, nullptr), Pointwise(FloatNear(1e-6f), {10.0f, 20.0f}));
}

TEST_F(ReferenceAttentionTest, AlibiLowersDistantScores) {
  const float slope = 2;
  const float weight = 1 / (1 + std::exp(-3.0f));  // scores 0.5 - 2 and 1.5
  EXPECT_THAT(attend(0, &slope), Pointwise(FloatNear(1e-5f), {10.0f, 10 + 10 * weight}));
}

TEST_F(ReferenceTest, WrongShapesThrowAtTheCall) {
  const Matrix source(DType::kF32, 2, 3);
  Matrix narrow(DType::kF32, 2, 2);
  EXPECT_THROW(kernels_.norm({.source = source.view(), .target = narrow.view()}, *stream_),
               InternalError);
  EXPECT_THROW(kernels_.convert({source.view(), narrow.view()}, *stream_), InternalError);
  EXPECT_THROW(kernels_.sample({.logits = source.view()}, *stream_), InternalError);
}

}  // namespace
}  // namespace zerostream
