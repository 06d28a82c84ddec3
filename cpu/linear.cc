#include "cpu/linear.h"

#include <algorithm>
#include <cstring>

#include "base/require.h"
#include "cpu/gemm_epilogue.h"
#include "cpu/gemm_kernel.h"
#include "cpu/kernel_checks.h"

namespace zerostream {
namespace {

// A worker's scratch: first the sums of its task, then a run of tiles for weights that are not
// tiled.
constexpr int64_t kSumsBytes = kLinearScratchBytes / 2;
constexpr int64_t kTilesBytes = kLinearScratchBytes - kSumsBytes;
constexpr int64_t kSumRowBytes = kPanelOutputs * int64_t{sizeof(float)};
constexpr int64_t kMaxTaskRows = 512;
constexpr int64_t kMinTaskRows = 64;
constexpr int64_t kFewRows = 32;  // the source fits the nearest cache whole

// How a multiplication is cut into tasks: rectangles of rows and groups of panels. A group is a
// panel, or a gate panel and its up panel. Results do not depend on the cut.
struct Cut {
  int64_t group_panels = 1;
  int64_t groups = 0;
  int64_t task_groups = 1;
  int64_t task_rows = 0;
  int64_t row_tasks = 0;

  int64_t tasks() const { return row_tasks * ceil_div(groups, task_groups); }
};

// Many groups per task let the source be read once for all of them; many tasks keep all workers
// busy to the end.
Cut make_cut(const LinearArgs& args, int workers) {
  Cut cut;
  cut.group_panels = args.epilogue == Epilogue::kGated ? 2 : 1;
  cut.groups = args.weight.panels() / cut.group_panels;
  cut.task_rows = std::min(args.target.rows, kMaxTaskRows);
  cut.row_tasks = ceil_div(args.target.rows, cut.task_rows);
  const int64_t wanted_tasks = workers == 1 ? 1 : 8 * workers;
  const int64_t fitting = kSumsBytes / (cut.task_rows * cut.group_panels * kSumRowBytes);
  cut.task_groups = std::clamp<int64_t>(cut.groups * cut.row_tasks / wanted_tasks, 1, fitting);
  while (cut.tasks() < wanted_tasks && cut.task_rows > kMinTaskRows) {
    cut.task_rows = ceil_div(cut.task_rows, 2);
    cut.row_tasks = ceil_div(args.target.rows, cut.task_rows);
  }
  return cut;
}

// Tiles `begin` to `begin + count` of a panel of a row-major weight.
void tile_rows(const PackedWeight& weight, int64_t panel, int64_t begin, int64_t count,
               std::byte* tiles) {
  const int64_t group_inputs = 4 / dtype_bytes(weight.dtype);
  const int64_t group_bytes = kPanelOutputs * 4;
  const int64_t first_input = begin * tile_inputs(weight.dtype);
  const int64_t inputs = std::min(count * tile_inputs(weight.dtype), weight.inputs - first_input);
  const int64_t outputs = std::min(kPanelOutputs, weight.outputs - panel * kPanelOutputs);
  std::memset(tiles, 0, static_cast<size_t>(count * kTileBytes));
  for (int64_t output = 0; output < outputs; ++output) {
    const int64_t row = panel * kPanelOutputs + output;
    const std::byte* source =
        weight.data + dtype_bytes(weight.dtype, row * weight.inputs + first_input);
    for (int64_t input = 0; input < inputs; input += group_inputs) {
      const int64_t valid = std::min(group_inputs, inputs - input);
      std::memcpy(tiles + input / group_inputs * group_bytes + output * 4,
                  source + dtype_bytes(weight.dtype, input),
                  static_cast<size_t>(dtype_bytes(weight.dtype, valid)));
    }
  }
}

class Multiplication {
 public:
  Multiplication(const LinearArgs& args, CpuStream& stream)
      : args_(args),
        stream_(stream),
        kernel_(panel_kernel(args.weight.dtype, stream.isa())),
        finish_(finish_panel(stream.isa())),
        cut_(make_cut(args, stream.pool().workers())) {}

  void run() {
    stream_.pool().parallel_for(cut_.tasks(), [this](int worker, int64_t index) {
      run_task(index, stream_.scratch(worker));
    });
  }

 private:
  // Neighbours share their weights, so that all but the first find them in a cache.
  void run_task(int64_t index, std::byte* scratch) const {
    const int64_t row = index % cut_.row_tasks * cut_.task_rows;
    const int64_t rows = std::min(cut_.task_rows, args_.target.rows - row);
    const int64_t group = index / cut_.row_tasks * cut_.task_groups;
    const int64_t group_end = std::min(group + cut_.task_groups, cut_.groups);
    const int64_t tiles = args_.weight.panel_bytes() / kTileBytes;
    const int64_t run = tiles_per_run(rows, tiles);
    for (int64_t tile = 0; tile < tiles; tile += run)
      for (int64_t g = group; g < group_end; ++g) {
        std::byte* sums = scratch + (g - group) * cut_.group_panels * rows * kSumRowBytes;
        const int64_t count = std::min(run, tiles - tile);
        multiply_group(g, row, rows, tile, count, sums, scratch + kSumsBytes);
        if (tile + count == tiles) finish_group(g, row, rows, sums);
      }
  }

  int64_t tiles_per_run(int64_t rows, int64_t tiles) const {
    const int64_t run = rows <= kFewRows ? tiles : kernel_.tiles_per_run;
    return args_.weight.layout == WeightLayout::kRows ? std::min(run, kTilesBytes / kTileBytes)
                                                      : run;
  }

  void multiply_group(int64_t group, int64_t row, int64_t rows, int64_t tile, int64_t count,
                      std::byte* sums, std::byte* tiles) const {
    const PackedWeight& weight = args_.weight;
    for (int64_t i = 0; i < cut_.group_panels; ++i) {
      const int64_t panel = group * cut_.group_panels + i;
      const std::byte* source = weight.data + panel * weight.panel_bytes() + tile * kTileBytes;
      if (weight.layout == WeightLayout::kRows) {
        tile_rows(weight, panel, tile, count, tiles);
        source = tiles;
      }
      const int64_t element_bytes = dtype_bytes(weight.dtype);
      kernel_.run(
          {.source = args_.source.row(row) + tile * tile_inputs(weight.dtype) * element_bytes,
           .source_row_bytes = args_.source.row_stride * element_bytes,
           .rows = rows,
           .tiles = source,
           .num_tiles = count,
           .sums = reinterpret_cast<float*>(sums + i * rows * kSumRowBytes),
           .keep_sums = tile > 0});
    }
  }

  void finish_group(int64_t group, int64_t row, int64_t rows, const std::byte* sums) const {
    const bool gated = cut_.group_panels == 2;
    const auto* gate = reinterpret_cast<const float*>(sums);
    finish_(args_, {.row_begin = row,
                    .rows = rows,
                    .col_begin = group * kPanelOutputs,
                    .gate = gate,
                    .up = gated ? gate + rows * kPanelOutputs : nullptr});
  }

  const LinearArgs& args_;
  CpuStream& stream_;
  const PanelKernel kernel_;
  const FinishPanel finish_;
  const Cut cut_;
};

bool is_aligned(const void* data) { return reinterpret_cast<uintptr_t>(data) % 64 == 0; }

}  // namespace

void cpu_linear(const LinearArgs& args, CpuStream& stream) {
  check_args(args);
  require(is_aligned(args.source.data) &&
              dtype_bytes(args.source.dtype, args.source.row_stride) % 64 == 0,
          "linear's source rows are 64-byte aligned");
  require(args.weight.layout == WeightLayout::kRows || is_aligned(args.weight.data),
          "tiled weights are 64-byte aligned");
  require(stream.scratch_bytes() >= kLinearScratchBytes, "linear runs on a compute stream");
  if (args.target.rows == 0) return;
  stream.enqueue([args, &stream] { Multiplication(args, stream).run(); });
}

}  // namespace zerostream
