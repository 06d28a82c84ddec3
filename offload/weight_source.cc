#include "offload/weight_source.h"

#include <algorithm>
#include <vector>

#include "base/require.h"

namespace zerostream {
namespace {

constexpr int64_t kPieceFloats = int64_t{1} << 20;
constexpr int64_t kLineFloats = 16;

const CheckpointTensor& existing(const Checkpoint& checkpoint, const std::string& name) {
  const CheckpointTensor* tensor = checkpoint.find(name);
  require(tensor != nullptr, "tensors are checked before they are read");
  return *tensor;
}

// Columns [begin, begin + cols) of `piece` [rows, width] become rows of `target`, at its column
// `at`.
void scatter_columns(const float* piece, int64_t rows, int64_t width, int64_t begin, int64_t cols,
                     int64_t target_width, int64_t at, float* target) {
  for (int64_t first = 0; first < cols; first += kLineFloats) {
    const int64_t last = std::min(first + kLineFloats, cols);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t col = first; col < last; ++col) {
        target[col * target_width + at + row] = piece[row * width + begin + col];
      }
    }
  }
}

void read_columns(const Checkpoint& checkpoint, const CheckpointTensor& tensor, int64_t begin,
                  int64_t cols, float* target) {
  const int64_t inputs = tensor.shape[0];
  const int64_t width = tensor.shape[1];
  const int64_t piece_rows = std::clamp<int64_t>(kPieceFloats / width, 1, inputs);
  std::vector<float> piece(static_cast<size_t>(piece_rows * width));
  for (int64_t row = 0; row < inputs; row += piece_rows) {
    const int64_t rows = std::min(piece_rows, inputs - row);
    checkpoint.read_rows(tensor, row, rows, piece.data());
    scatter_columns(piece.data(), rows, width, begin, cols, inputs, row, target);
  }
}

}  // namespace

WeightSource checkpoint_weights(const Checkpoint& checkpoint) {
  WeightSource weights;
  weights.read_rows = [&checkpoint](const SourceTensor& source, int64_t, int64_t begin,
                                    int64_t rows, float* target) {
    const CheckpointTensor& tensor = existing(checkpoint, source.name);
    if (source.transposed) {
      read_columns(checkpoint, tensor, source.row_begin + begin, rows, target);
    } else {
      checkpoint.read_rows(tensor, source.row_begin + begin, rows, target);
    }
  };
  weights.read_vector = [&checkpoint](VectorRole, const SourceTensor& source, float* target) {
    checkpoint.read_rows(existing(checkpoint, source.name), source.row_begin, source.rows, target);
  };
  return weights;
}

void read_outputs(const WeightSource& weights, std::span<const SourceTensor> sources,
                  int64_t inputs, int64_t begin, int64_t rows, float* target) {
  int64_t source_begin = 0;
  for (const SourceTensor& source : sources) {
    const int64_t first = std::max(begin, source_begin);
    const int64_t last = std::min(begin + rows, source_begin + source.rows);
    if (first < last) {
      float* lines = target + (first - begin) * inputs;
      if (source.name.empty()) {
        std::fill_n(lines, (last - first) * inputs, 0.0f);
      } else {
        weights.read_rows(source, inputs, first - source_begin, last - first, lines);
      }
    }
    source_begin += source.rows;
  }
}

}  // namespace zerostream
