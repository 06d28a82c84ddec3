#include "gpu/unpacked_products.h"

#include <algorithm>

#include "gpu/launchers.h"

namespace zerostream {
namespace {

constexpr int64_t kInputsStep = 32;  // of launch_unpack()

// The part of a product that panels [begin, begin + count) of the weight make.
LinearArgs part_of(const LinearArgs& args, int64_t begin, int64_t count) {
  LinearArgs part = args;
  const int64_t output = begin * kPanelOutputs;
  part.weight.data += begin * args.weight.panel_bytes();
  part.weight.outputs = std::min(count * kPanelOutputs, args.weight.outputs - output);
  if (part.bias != nullptr) part.bias += output;
  const int64_t of_col = args.epilogue == Epilogue::kGated ? 2 : 1;
  const int64_t col = output / of_col;
  part.target =
      args.target.col_range(col, std::min(count * kPanelOutputs / of_col, args.target.cols - col));
  return part;
}

}  // namespace

UnpackedProducts::UnpackedProducts(CudaDevice& device, RowProducts& rows, int64_t bytes)
    : rows_(rows), memory_(device.allocate(bytes)) {}

int64_t UnpackedProducts::panels_of_run(const LinearArgs& args) const {
  const int64_t row_bytes =
      dtype_bytes(args.source.dtype, round_up(args.weight.inputs, kInputsStep));
  const int64_t panels = memory_.size() / (kPanelOutputs * row_bytes);
  return args.epilogue == Epilogue::kGated ? panels / 2 * 2 : panels;
}

bool UnpackedProducts::takes(const LinearArgs& args) const {
  return args.weight.layout == WeightLayout::kTile64 && args.source.dtype != DType::kF32 &&
         args.target.rows >= kLeastRows && panels_of_run(args) > 0;
}

void UnpackedProducts::multiply(const LinearArgs& args, CudaStream& stream) {
  const int64_t run = panels_of_run(args), inputs = round_up(args.weight.inputs, kInputsStep);
  for (int64_t panel = 0; panel < args.weight.panels(); panel += run) {
    const LinearArgs packed = part_of(args, panel, run);
    const int64_t rows = packed.weight.panels() * kPanelOutputs;
    launch_unpack(packed.weight, {memory_.data(), args.source.dtype, rows, inputs, inputs}, stream);
    LinearArgs unpacked = packed;
    unpacked.weight = {memory_.data(), args.source.dtype, WeightLayout::kRows,
                       packed.weight.outputs, inputs};
    if (!rows_.multiply(unpacked, stream)) launch_linear_tensor(packed, stream);
  }
}

}  // namespace zerostream
