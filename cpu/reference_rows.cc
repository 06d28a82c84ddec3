#include <algorithm>
#include <cmath>
#include <numbers>

#include "cpu/quantise_rows.h"
#include "cpu/reference_ops.h"

namespace zerostream::reference {
namespace {

double activate(double x, Activation activation) {
  switch (activation) {
    case Activation::kNone:
      return x;
    case Activation::kRelu:
      return x > 0 ? x : 0;
    case Activation::kGelu:
      return 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2));
    case Activation::kGeluTanh:
      return 0.5 * x *
             (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
  }
  return x;
}

float weight_at(const PackedWeight& weight, int64_t output, int64_t input) {
  if (weight.layout == WeightLayout::kRows)
    return load_float(weight.data, weight.dtype, output * weight.inputs + input);
  const int64_t group = 32 / dtype_bits(weight.dtype);  // inputs of one output that lie together
  const int64_t span = tile_inputs(weight.dtype);
  const std::byte* tile =
      weight.data + output / kPanelOutputs * weight.panel_bytes() + input / span * kTileBytes;
  const int64_t within = input % span;
  return load_float(
      tile, weight.dtype,
      (within / group * kPanelOutputs + output % kPanelOutputs) * group + within % group);
}

// A quantised weight's integer q.
int32_t integer_at(const PackedWeight& weight, int64_t output, int64_t input) {
  const int64_t span = tile_inputs(weight.dtype);
  const std::byte* tile =
      weight.data + output / kPanelOutputs * weight.panel_bytes() + input / span * kTileBytes;
  const int64_t within = input % 64;
  const auto byte = std::to_integer<int32_t>(
      tile[(within / 4 * kPanelOutputs + output % kPanelOutputs) * 4 + within % 4]);
  if (weight.dtype == DType::kI8) return byte;
  return input % span < 64 ? byte & 15 : byte >> 4;
}

struct Group {
  float scale;
  int32_t zero;
};

Group group_at(const PackedWeight& weight, int64_t output, int64_t group) {
  const std::byte* entry = weight.data + output / kPanelOutputs * weight.panel_bytes() +
                           weight.tiles_bytes() + group * weight.group_bytes();
  const int64_t column = output % kPanelOutputs;
  const float scale = load_float(entry, DType::kF16, column);
  if (weight.has_zeros) return {scale, std::to_integer<int32_t>(entry[2 * kPanelOutputs + column])};
  return {scale, 1 << (dtype_bits(weight.dtype) - 1)};
}

// Sum over groups of scale * sum of (q - zero) * x, for any numbers x.
template <typename Source>
double dot_quantised(const PackedWeight& weight, int64_t output, const Source& x) {
  double sum = 0;
  for (int64_t group = 0; group < weight.groups(); ++group) {
    const auto [scale, zero] = group_at(weight, output, group);
    double inner = 0;
    const int64_t begin = group * weight.group_size;
    for (int64_t i = begin; i < std::min(begin + weight.group_size, weight.inputs); ++i)
      inner += x(i) * (integer_at(weight, output, i) - zero);
    sum += scale * inner;
  }
  return sum;
}

float largest_magnitude(const TensorView& source, int64_t row) {
  float largest = 0;
  for (int64_t i = 0; i < source.cols; ++i)
    largest = std::max(largest, std::abs(load_float(source.row(row), source.dtype, i)));
  return largest;
}

double dot_row(const LinearArgs& args, int64_t row, int64_t output) {
  const double bias = args.bias != nullptr ? args.bias[output] : 0;
  const auto x = [&](int64_t i) {
    return double{load_float(args.source.row(row), args.source.dtype, i)};
  };
  if (args.int8_activations) {
    const RowStep step = row_step(largest_magnitude(args.source, row));
    const auto integer = [&](int64_t i) {
      return std::nearbyint(static_cast<float>(x(i)) * step.inverse);
    };
    return bias + step.step * dot_quantised(args.weight, output, integer);
  }
  if (args.weight.group_size != 0) return bias + dot_quantised(args.weight, output, x);
  double sum = bias;
  for (int64_t input = 0; input < args.weight.inputs; ++input)
    sum += x(input) * weight_at(args.weight, output, input);
  return sum;
}

double linear_element(const LinearArgs& args, int64_t row, int64_t col) {
  switch (args.epilogue) {
    case Epilogue::kStore:
      return dot_row(args, row, col);
    case Epilogue::kAdd:
      return args.target.row_as<float>(row)[col] + dot_row(args, row, col);
    case Epilogue::kActivate:
      return activate(dot_row(args, row, col), args.activation);
    case Epilogue::kGated: {
      const int64_t gate = col / kPanelOutputs * 2 * kPanelOutputs + col % kPanelOutputs;
      return activate(dot_row(args, row, gate), args.activation) *
             dot_row(args, row, gate + kPanelOutputs);
    }
  }
  return 0;
}

}  // namespace

void embed(const EmbedArgs& args) {
  for (int64_t row = 0; row < args.target.rows; ++row) {
    float* target = args.target.row_as<float>(row);
    for (int64_t col = 0; col < args.target.cols; ++col) {
      const float value = load_float(args.table + args.byte_offsets[row], args.dtype, col);
      target[col] = args.accumulate ? target[col] + value : value;
    }
  }
}

void norm(const NormArgs& args) {
  const int64_t cols = args.source.cols;
  for (int64_t row = 0; row < args.target.rows; ++row) {
    const auto* source =
        args.source.row_as<float>(args.row_indices != nullptr ? args.row_indices[row] : row);
    double mean = 0;
    if (args.kind == NormKind::kLayerNorm)
      for (int64_t col = 0; col < cols; ++col) mean += source[col] / static_cast<double>(cols);
    double mean_square = 0;
    for (int64_t col = 0; col < cols; ++col)
      mean_square += (source[col] - mean) * (source[col] - mean) / static_cast<double>(cols);
    const double factor = 1 / std::sqrt(mean_square + args.epsilon);
    for (int64_t col = 0; col < cols; ++col) {
      double value = (source[col] - mean) * factor;
      if (args.weight != nullptr) value *= args.weight[col];
      if (args.bias != nullptr) value += args.bias[col];
      store_float(args.target.row(row), args.target.dtype, col, static_cast<float>(value));
    }
  }
}

void convert(const ConvertArgs& args) {
  for (int64_t row = 0; row < args.target.rows; ++row) {
    const std::byte* source = args.source.row(args.row_indices ? args.row_indices[row] : row);
    for (int64_t col = 0; col < args.source.cols; ++col)
      store_float(args.target.row(row), args.target.dtype, col,
                  load_float(source, args.source.dtype, col));
  }
}

void linear(const LinearArgs& args) {
  for (int64_t row = 0; row < args.target.rows; ++row)
    for (int64_t col = 0; col < args.target.cols; ++col)
      store_float(args.target.row(row), args.target.dtype, col,
                  static_cast<float>(linear_element(args, row, col)));
}

}  // namespace zerostream::reference
