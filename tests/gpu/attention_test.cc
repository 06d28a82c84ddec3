// Keys and values written and read by the GPU against the reference.
#include <gtest/gtest.h>

#include <cmath>
#include <utility>

#include "tests/gpu/gpu_fixture.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr DType kKvTypes[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kI8};

constexpr KvShape kShapes[] = {{1, 1, 1, 2},  {2, 1, 7, 3},    {2, 2, 16, 5},   {1, 3, 64, 16},
                               {1, 2, 80, 7}, {2, 4, 128, 16}, {1, 1, 256, 32}, {1, 19, 40, 16}};

using GpuAttentionTest = GpuKernelsTest;

TEST_F(GpuAttentionTest, WriteKv) {
  std::mt19937 random(7);
  for (const KvShape& shape : kShapes)
    for (const DType dtype : kKvTypes)
      for (const RopeKind rope : {RopeKind::kNone, RopeKind::kHalf, RopeKind::kInterleaved}) {
        const bool normed = random() % 2 == 0;
        const KvBatch batch({{0, 11}, {5, 1}, {30, 2}}, shape.block_tokens, random);
        const int32_t dim = shape.head_dim;
        const int32_t rope_cols = rope == RopeKind::kNone ? 0 : dim > 16 ? dim / 2 - 3 : dim / 2;
        const int64_t heads = int64_t{shape.kv_heads} * shape.group;
        Matrix qkv(DType::kF32, batch.rows, (heads + 2 * shape.kv_heads) * dim);
        Matrix norms(DType::kF32, 2, dim), cosines(DType::kF32, batch.rows, std::max(1, rope_cols)),
            sines(DType::kF32, batch.rows, std::max(1, rope_cols));
        qkv.randomise(random);
        norms.randomise(random);
        cosines.randomise(random);
        sines.randomise(random);
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
                            .num_sequences = batch.count(),
                            .kv = expected_kv.view(),
                            .query = expected.view()};
        reference_.write_kv(args, *reference_stream_);
        args.qkv = on_device(qkv);
        const float* device_norms = floats_on_device(norms);
        args.query_norm = normed ? device_norms : nullptr;
        args.key_norm = normed ? device_norms + dim : nullptr;
        args.rope_cos = floats_on_device(cosines);
        args.rope_sin = floats_on_device(sines);
        args.sequences = on_device(batch.spans, batch.tables);
        args.kv = on_device(actual_kv, batch.blocks);
        args.query = on_device(actual);
        kernels_.write_kv(args, *stream_);
        finish();
        read(args.query, actual);
        read(args.kv, actual_kv, batch.blocks);
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
        clear();
      }
}

struct Variant {
  int32_t window;
  bool alibi;
  DType target;
};
constexpr Variant kVariants[] = {{0, false, DType::kF32},
                                 {0, true, DType::kF16},
                                 {1, false, DType::kF32},
                                 {37, false, DType::kBF16},
                                 {64, true, DType::kF32}};

// Tensor cores take queries and weights rounded to the type of the cells; int8 as bf16.
double attention_limit(DType cells, DType target) {
  const double limit = cells == DType::kF32 ? 0 : cells == DType::kF16 ? 3e-7 : 2e-5;
  return std::max(limit, nmse_limit(target));
}

TEST_F(GpuAttentionTest, Attention) {
  std::mt19937 random(8);
  for (const KvShape& shape : kShapes)
    for (const DType dtype : kKvTypes)
      for (const Variant& variant : kVariants) {
        const KvBatch batch({{0, 1}, {0, 7}, {150, 1}, {63, 1}, {64, 1}, {5, 0}, {99, 4}, {20, 18}},
                            shape.block_tokens, random);
        const int64_t cols = int64_t{shape.kv_heads} * shape.group * shape.head_dim;
        KvPool kv(dtype, shape.kv_heads, shape.head_dim, shape.block_tokens, batch.blocks);
        for (size_t s = 0; s < batch.spans.size(); ++s)
          kv.randomise(batch.tables[s], batch.spans[s].position_begin + batch.spans[s].rows,
                       random);
        Matrix query(DType::kF32, batch.rows, cols), slopes(DType::kF32, 1, cols / shape.head_dim);
        query.randomise(random);
        slopes.randomise(random, 0.1f);
        Matrix actual(variant.target, batch.rows, cols), expected(variant.target, batch.rows, cols);
        AttentionArgs args = {.query = query.view(),
                              .kv = kv.view(),
                              .sequences = batch.spans.data(),
                              .num_sequences = batch.count(),
                              .scale = 1.5f / std::sqrt(static_cast<float>(shape.head_dim)),
                              .sliding_window = variant.window,
                              .alibi_slopes = variant.alibi ? slopes.floats() : nullptr,
                              .target = expected.view()};
        reference_.attention(args, *reference_stream_);
        args.query = on_device(query);
        args.kv = on_device(kv, batch.blocks);
        args.sequences = on_device(batch.spans, batch.tables);
        args.alibi_slopes = variant.alibi ? floats_on_device(slopes) : nullptr;
        args.target = on_device(actual);
        kernels_.attention(args, *stream_);
        finish();
        read(args.target, actual);
        ASSERT_LT(nmse(actual, expected), attention_limit(dtype, variant.target))
            << "kv " << dtype_name(dtype) << ", head_dim " << shape.head_dim << ", group "
            << shape.group << ", window " << variant.window;
        clear();
      }
}

// The bits of a row do not depend on the call that it comes in: many rows go through all positions
// at once, few by pieces, whose length changes at position 1024.
TEST_F(GpuAttentionTest, ARowHasTheSameBitsAlone) {
  std::mt19937 random(9);
  constexpr int32_t kBegin = 985, kRows = 70;
  const KvBatch batch({{kBegin, kRows}}, 16, random);
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kI8}) {
    const int32_t window = dtype == DType::kBF16 ? 300 : 0;
    KvPool kv(dtype, 8, 8, 16, batch.blocks);
    kv.randomise(batch.tables[0], kBegin + kRows, random);
    Matrix query(DType::kF32, kRows, 128), together(DType::kF32, kRows, 128),
        alone(DType::kF32, kRows, 128);
    query.randomise(random);
    const TensorView queries = on_device(query), all = on_device(together), one = on_device(alone);
    AttentionArgs args = {.query = queries,
                          .kv = on_device(kv, batch.blocks),
                          .sequences = on_device(batch.spans, batch.tables),
                          .num_sequences = 1,
                          .scale = 0.4f,
                          .sliding_window = window,
                          .target = all};
    kernels_.attention(args, *stream_);
    const std::vector<std::pair<int32_t, int32_t>> parts = {{0, 1}, {30, 20}, {69, 1}};
    for (const auto& [row, rows] : parts) {
      args.query = queries.row_range(row, rows);
      args.target = one.row_range(row, rows);
      args.sequences = on_device({{0, rows, kBegin + row, nullptr}}, batch.tables);
      kernels_.attention(args, *stream_);
    }
    finish();
    read(all, together);
    read(one, alone);
    for (const auto& [first, rows] : parts)
      for (int64_t row = first; row < first + rows; ++row)
        EXPECT_EQ(together.row_bytes(row), alone.row_bytes(row)) << dtype_name(dtype) << ' ' << row;
    clear();
  }
}

// Cells outside of the window are NaN, as are those of no position.
TEST_F(GpuAttentionTest, TakesNothingFromMaskedPositions) {
  std::mt19937 random(10);
  const KvBatch batch({{100, 1}}, 16, random);
  for (const DType dtype : kFloatTypes) {
    KvPool kv(dtype, 1, 16, 16, batch.blocks);
    kv.randomise(batch.tables[0], 101, random);
    for (int64_t position = 0; position < 50; ++position)
      for (int64_t col = 0; col < 16; ++col) {
        const int64_t cell = position % 16 * 16 + col;
        const int32_t block = batch.tables[0][static_cast<size_t>(position / 16)];
        store_float(kv.view().key(block, 0), dtype, cell, std::nanf(""));
        store_float(kv.view().value(block, 0), dtype, cell, std::nanf(""));
      }
    Matrix query(DType::kF32, 1, 16), target(DType::kF32, 1, 16);
    query.randomise(random);
    const TensorView view = on_device(target);
    for (const int32_t window : {51, 52}) {
      kernels_.attention({.query = on_device(query),
                          .kv = on_device(kv, batch.blocks),
                          .sequences = on_device(batch.spans, batch.tables),
                          .num_sequences = 1,
                          .sliding_window = window,
                          .target = view},
                         *stream_);
      finish();
      read(view, target);
      EXPECT_EQ(std::isnan(target.at(0, 5)), window == 52) << dtype_name(dtype);
    }
    clear();
  }
}

TEST_F(GpuAttentionTest, HeadsThatAreTooWideThrowAtTheCall) {
  KvPool kv(DType::kF32, 1, 264, 16, 1);
  Matrix query(DType::kF32, 1, 264), qkv(DType::kF32, 1, 3 * 264);
  EXPECT_THROW(kernels_.attention({.query = query.view(), .kv = kv.view(), .target = query.view()},
                                  *stream_),
               InternalError);
  EXPECT_THROW(
      kernels_.write_kv({.qkv = qkv.view(), .kv = kv.view(), .query = query.view()}, *stream_),
      InternalError);
}

}  // namespace
}  // namespace zerostream
