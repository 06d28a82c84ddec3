// Epilogues of products that were made elsewhere.
#include "gpu/launchers.h"
#include "gpu/linear_epilogue.cuh"

namespace zerostream {
namespace {

constexpr int kThreads = 256;

template <bool kGated>
__global__ void __launch_bounds__(kThreads) finish_row(LinearArgs args, TensorView sums) {
  const int64_t row = blockIdx.x;
  const int64_t col = int64_t{blockIdx.y} * kThreads + threadIdx.x;
  if (col >= args.target.cols) return;
  const float* of_row = row_of<float>(sums, row);
  if constexpr (kGated) {
    const int64_t gate = gate_output(col);
    finish_gated(args, row, col, of_row[gate], of_row[gate + kPanelOutputs]);
  } else {
    finish(args, row, col, of_row[col]);
  }
}

}  // namespace

// --------------------------------------------------------------------------------------------------

void launch_epilogue(const LinearArgs& args, const TensorView& sums, CudaStream& stream) {
  const dim3 grid(static_cast<unsigned>(args.target.rows),
                  static_cast<unsigned>(ceil_div(args.target.cols, kThreads)));
  stream.launch("linear_epilogue", grid, kThreads,
                args.epilogue == Epilogue::kGated ? finish_row<true> : finish_row<false>, args,
                sums);
}

}  // namespace zerostream
