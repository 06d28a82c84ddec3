#include "cpu/linear.h"

#include <algorithm>
#include <cstring>

#include "base/require.h"
#include "cpu/gemm_epilogue.h"
#include "cpu/gemm_kernel.h"
#include "cpu/kernel_checks.h"

namespace zerostream {
namespace {

constexpr int64_t kSumRowBytes = kPanelOutputs * int64_t{sizeof(float)};
constexpr int64_t kMaxTaskRows = 512;
constexpr int64_t kMinTaskRows = 64;

constexpr int64_t kTileRowBytes = 64;  // what a tile takes of a row of the source

// With no more rows than this the time goes into reading the weights: they are read in one go, as
// they rest, and fetched a few tiles ahead.
constexpr int64_t kFewRows = 32;
constexpr int64_t kAheadTiles = 4;

// With more rows inputs are multiplied in runs: while a run's part of the source is at hand, copied
// to a worker's scratch, all panels of the task use it. A gap behind each copied row keeps rows out
// of each other's cache sets.
constexpr int64_t kCopiedRowGap = 64;
constexpr int64_t kMaxRunTiles = 32;

// A worker's scratch: the sums of its task, a run of the source, a run of tiles for weights that
// are not tiled.
constexpr int64_t kSumsBytes = int64_t{1} << 20;
constexpr int64_t kSourceBytes = int64_t{544} << 10;
constexpr int64_t kTilesBytes = kMaxRunTiles * kTileBytes;
static_assert(kSumsBytes + kSourceBytes + kTilesBytes <= kLinearScratchBytes);

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

  // Neighbouring tasks share their weights, so that all but the first find them in a cache.
  void run() {
    stream_.pool().parallel_for(cut_.tasks(), [this](int worker, int64_t index) {
      Task task = {.row = index % cut_.row_tasks * cut_.task_rows,
                   .group = index / cut_.row_tasks * cut_.task_groups,
                   .scratch = stream_.scratch(worker)};
      task.rows = std::min(cut_.task_rows, args_.target.rows - task.row);
      task.group_end = std::min(task.group + cut_.task_groups, cut_.groups);
      run_task(task);
    });
  }

 private:
  struct Task {
    int64_t row = 0;
    int64_t rows = 0;
    int64_t group = 0;
    int64_t group_end = 0;
    std::byte* scratch = nullptr;

    // Of the task's panels, one after the other.
    float* sums(int64_t panel) const {
      return reinterpret_cast<float*>(scratch + panel * rows * kSumRowBytes);
    }
    std::byte* source() const { return scratch + kSumsBytes; }
    std::byte* tiles() const { return scratch + kSumsBytes + kSourceBytes; }
  };

  void run_task(const Task& task) const {
    const int64_t tiles = args_.weight.panel_bytes() / kTileBytes;
    const int64_t run_tiles = tiles_per_run(task, tiles);
    for (int64_t tile = 0; tile < tiles; tile += run_tiles)
      multiply_run(task, tile, std::min(run_tiles, tiles - tile));
  }

  int64_t tiles_per_run(const Task& task, int64_t tiles) const {
    if (reads_through(task)) return tiles;
    return std::min(kMaxRunTiles, (kSourceBytes / task.rows - kCopiedRowGap) / kTileRowBytes);
  }

  bool reads_through(const Task& task) const {
    return task.rows <= kFewRows && args_.weight.layout == WeightLayout::kTile64;
  }

  // Tiles [tile, tile + tiles) of all panels of a task.
  void multiply_run(const Task& task, int64_t tile, int64_t tiles) const {
    const int64_t begin = task.group * cut_.group_panels;
    const int64_t end = task.group_end * cut_.group_panels;
    const bool last_run = (tile + tiles) * kTileBytes == args_.weight.panel_bytes();
    PanelProduct product = {.rows = task.rows, .num_tiles = tiles, .keep_sums = tile > 0};
    set_source(task, tile, product);
    for (int64_t panel = begin; panel < end; ++panel) {
      product.sums = task.sums(panel - begin);
      set_tiles(task, panel, tile, product);
      if (reads_through(task))
        product.next_tiles = product.tiles + kAheadTiles * kTileBytes;
      else
        product.next_tiles =
            panel + 1 < end ? resting_tiles(panel + 1, tile) : resting_tiles(begin, tile + tiles);
      kernel_(product);
      if (last_run && (panel + 1) % cut_.group_panels == 0) finish_group(task, panel - begin);
    }
  }

  void set_source(const Task& task, int64_t tile, PanelProduct& product) const {
    product.source = args_.source.row(task.row) + tile * kTileRowBytes;
    product.source_row_bytes = dtype_bytes(args_.source.dtype, args_.source.row_stride);
    if (task.rows <= kFewRows) return;
    const int64_t run_bytes = product.num_tiles * kTileRowBytes;
    const int64_t copied_row_bytes = run_bytes + kCopiedRowGap;
    for (int64_t row = 0; row < task.rows; ++row)
      std::memcpy(task.source() + row * copied_row_bytes,
                  product.source + row * product.source_row_bytes, static_cast<size_t>(run_bytes));
    product.source = task.source();
    product.source_row_bytes = copied_row_bytes;
  }

  void set_tiles(const Task& task, int64_t panel, int64_t tile, PanelProduct& product) const {
    product.tiles = resting_tiles(panel, tile);
    if (args_.weight.layout == WeightLayout::kTile64) return;
    tile_rows(args_.weight, panel, tile, product.num_tiles, task.tiles());
    product.tiles = task.tiles();
  }

  const std::byte* resting_tiles(int64_t panel, int64_t tile) const {
    return args_.weight.data + panel * args_.weight.panel_bytes() + tile * kTileBytes;
  }

  // The group whose last panel is the task's panel `last_panel`.
  void finish_group(const Task& task, int64_t last_panel) const {
    const bool gated = cut_.group_panels == 2;
    finish_(args_, {.row_begin = task.row,
                    .rows = task.rows,
                    .col_begin = (task.group + last_panel / cut_.group_panels) * kPanelOutputs,
                    .gate = task.sums(gated ? last_panel - 1 : last_panel),
                    .up = gated ? task.sums(last_panel) : nullptr});
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
