// What the tests of kernels share: matrices, paged KV, comparisons.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/kernels.h"
#include "base/tensor.h"
#include "cpu/cpu_device.h"

namespace zerostream {

// Owned elements of a float dtype at a 64-byte boundary, zero at first. `stride` 0: rows lie
// together.
class Matrix {
 public:
  Matrix(DType dtype, int64_t rows, int64_t cols, int64_t stride = 0)
      : view_{nullptr, dtype, rows, cols, stride == 0 ? cols : stride} {
    const auto bytes = static_cast<size_t>(dtype_bytes(dtype, rows * view_.row_stride));
    memory_.reset(static_cast<std::byte*>(::operator new(bytes, kAlignment)));
    std::memset(memory_.get(), 0, bytes);
    view_.data = memory_.get();
  }

  const TensorView& view() const { return view_; }
  int64_t rows() const { return view_.rows; }
  int64_t cols() const { return view_.cols; }
  float at(int64_t row, int64_t col) const { return load_float(view_.row(row), view_.dtype, col); }
  void set(int64_t row, int64_t col, float value) {
    store_float(view_.row(row), view_.dtype, col, value);
  }
  Matrix& fill(const std::vector<float>& values) {
    for (int64_t i = 0; i < rows() * cols(); ++i)
      set(i / cols(), i % cols(), values.at(static_cast<size_t>(i)));
    return *this;
  }
  Matrix& randomise(std::mt19937& random, float scale = 1.0f) {
    std::normal_distribution<float> normal(0.0f, scale);
    for (int64_t i = 0; i < rows() * cols(); ++i) set(i / cols(), i % cols(), normal(random));
    return *this;
  }
  const float* floats() const { return reinterpret_cast<const float*>(view_.data); }
  std::vector<float> values() const {
    std::vector<float> all;
    for (int64_t i = 0; i < rows() * cols(); ++i) all.push_back(at(i / cols(), i % cols()));
    return all;
  }
  // The bytes of a row, for comparisons to the bit.
  std::string row_bytes(int64_t row) const {
    return {reinterpret_cast<const char*>(view_.row(row)),
            static_cast<size_t>(dtype_bytes(view_.dtype, cols()))};
  }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(std::byte* memory) const { ::operator delete(memory, kAlignment); }
  };
  TensorView view_;
  std::unique_ptr<std::byte, Free> memory_;
};

// Sum of squared differences over sum of squares; NaN if either holds a NaN.
inline double nmse(const Matrix& actual, const Matrix& expected) {
  double error = 0, power = 1e-30;
  for (int64_t row = 0; row < expected.rows(); ++row)
    for (int64_t col = 0; col < expected.cols(); ++col) {
      const double truth = expected.at(row, col);
      error += (actual.at(row, col) - truth) * (actual.at(row, col) - truth);
      power += truth * truth;
    }
  return error / power;
}

// How far fp32 sums, rounded to `dtype`, may be from the truth rounded to it.
inline double nmse_limit(DType dtype) {
  return dtype == DType::kF32 ? 1e-11 : dtype == DType::kF16 ? 1e-7 : 1e-5;
}

// KV blocks whose unwritten cells are NaN (of int8: the scales), so that reading one shows. Block
// ids go from -blocks to blocks - 1.
class KvPool {
 public:
  KvPool(DType dtype, int32_t kv_heads, int32_t head_dim, int32_t block_tokens, int32_t blocks) {
    view_ = {nullptr, dtype, 0, block_tokens, kv_heads, head_dim};
    view_.block_bytes =
        round_up(KvLayerView::content_bytes(dtype, block_tokens, kv_heads, head_dim), 64) + 64;
    memory_.assign(static_cast<size_t>(2 * blocks * view_.block_bytes), std::byte{0xff});
    view_.base = memory_.data() + blocks * view_.block_bytes;
  }
  KvPool(const KvPool&) = delete;

  const KvLayerView& view() const { return view_; }
  void randomise(const std::vector<int32_t>& table, int64_t positions, std::mt19937& random) {
    for (int64_t position = 0; position < positions; ++position)
      for (int64_t head = 0; head < view_.num_key_value_heads; ++head) {
        const int64_t block = block_of(table, position);
        randomise(view_.key(block, head), view_.key_scales(block, head), position, random);
        randomise(view_.value(block, head), view_.value_scales(block, head), position, random);
      }
  }
  float key(const std::vector<int32_t>& table, int64_t position, int64_t head, int64_t i) const {
    const int64_t block = block_of(table, position);
    return number(view_.key(block, head), view_.key_scales(block, head), position, i);
  }
  float value(const std::vector<int32_t>& table, int64_t position, int64_t head, int64_t i) const {
    const int64_t block = block_of(table, position);
    return number(view_.value(block, head), view_.value_scales(block, head), position, i);
  }
  // One step of int8 at a position; 0 in other types.
  float key_scale(const std::vector<int32_t>& table, int64_t position, int64_t head) const {
    return scale(view_.key_scales(block_of(table, position), head), position);
  }
  float value_scale(const std::vector<int32_t>& table, int64_t position, int64_t head) const {
    return scale(view_.value_scales(block_of(table, position), head), position);
  }

 private:
  int64_t block_of(const std::vector<int32_t>& table, int64_t position) const {
    return table.at(static_cast<size_t>(position / view_.block_tokens));
  }
  int64_t slot(int64_t position) const { return position % view_.block_tokens; }
  float scale(const float* scales, int64_t position) const {
    return view_.dtype == DType::kI8 ? scales[slot(position)] : 0.0f;
  }

  float number(const std::byte* source, const float* scales, int64_t position, int64_t i) const {
    const int64_t cell = slot(position) * view_.head_dim + i;
    if (view_.dtype != DType::kI8) return load_float(source, view_.dtype, cell);
    return scales[slot(position)] * reinterpret_cast<const int8_t*>(source)[cell];
  }
  void randomise(std::byte* target, float* scales, int64_t position, std::mt19937& random) {
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < view_.head_dim; ++i) {
      const int64_t cell = slot(position) * view_.head_dim + i;
      if (view_.dtype == DType::kI8)
        reinterpret_cast<int8_t*>(target)[cell] = static_cast<int8_t>(random() % 255 - 127);
      else
        store_float(target, view_.dtype, cell, normal(random));
    }
    if (view_.dtype == DType::kI8) scales[slot(position)] = (0.5f + normal(random)) / 64;
  }

  KvLayerView view_;
  std::vector<std::byte> memory_;
};

// `count` of the block ids -count .. count - 1 in random order.
inline std::vector<int32_t> shuffled_blocks(int32_t count, std::mt19937& random) {
  std::vector<int32_t> blocks;
  for (int32_t i = -count; i < count; ++i) blocks.push_back(i);
  std::shuffle(blocks.begin(), blocks.end(), random);
  blocks.resize(static_cast<size_t>(count));
  return blocks;
}

// Heads of attention and the positions of a KV block.
struct KvShape {
  int32_t kv_heads, group, head_dim, block_tokens;
};

// Sequences of one call with their own block tables; `positions` are those before and in the call.
struct KvBatch {
  std::vector<SequenceSpan> spans;
  std::vector<std::vector<int32_t>> tables;
  int32_t rows = 0;
  int32_t blocks = 0;

  KvBatch(const std::vector<std::pair<int32_t, int32_t>>& begins_and_rows, int32_t block_tokens,
          std::mt19937& random) {
    for (const auto& [begin, count] : begins_and_rows)
      blocks += static_cast<int32_t>(ceil_div(begin + count, block_tokens));
    std::vector<int32_t> free = shuffled_blocks(blocks, random);
    for (const auto& [begin, count] : begins_and_rows) {
      const auto wanted = static_cast<std::ptrdiff_t>(ceil_div(begin + count, block_tokens));
      tables.emplace_back(free.end() - wanted, free.end());
      free.resize(free.size() - static_cast<size_t>(wanted));
      spans.push_back({rows, count, begin, tables.back().data()});
      rows += count;
    }
  }
  int32_t count() const { return static_cast<int32_t>(spans.size()); }
};

// A random weight in both layouts.
class LayoutWeight {
 public:
  LayoutWeight(DType dtype, int64_t outputs, int64_t inputs, std::mt19937& random)
      : rows_(dtype, outputs, inputs),
        tiles_(dtype, round_up(outputs, 64), round_up(inputs, tile_inputs(dtype))) {
    rows_.randomise(random, 1.0f / std::sqrt(static_cast<float>(inputs)));
    const int64_t group = 4 / dtype_bytes(dtype), panel_elements = 64 * tiles_.cols();
    for (int64_t o = 0; o < outputs; ++o)
      for (int64_t i = 0; i < inputs; ++i)
        store_float(tiles_.view().data, dtype,
                    o / 64 * panel_elements + i / group * group * 64 + o % 64 * group + i % group,
                    rows_.at(o, i));
  }
  const Matrix& matrix(WeightLayout layout) const {
    return layout == WeightLayout::kRows ? rows_ : tiles_;
  }
  PackedWeight view(WeightLayout layout) const { return view(layout, matrix(layout).view().data); }
  // With a copy of the matrix at `data`.
  PackedWeight view(WeightLayout layout, const std::byte* data) const {
    return {data, rows_.view().dtype, layout, rows_.rows(), rows_.cols()};
  }
  // Outputs [begin, begin + count) in tiles; begin is a multiple of 64.
  PackedWeight outputs(int64_t begin, int64_t count) const {
    PackedWeight part = view(WeightLayout::kTile64);
    part.data += begin / 64 * part.panel_bytes();
    part.outputs = count;
    return part;
  }

 private:
  Matrix rows_;
  Matrix tiles_;
};

}  // namespace zerostream
