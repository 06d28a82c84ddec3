#include "cpu/linear.h"

#include <algorithm>
#include <cstring>

#include "base/kernel_checks.h"
#include "base/require.h"
#include "cpu/gemm_epilogue.h"
#include "cpu/gemm_kernel.h"
#include "cpu/quantise_rows.h"
#include "cpu/weight_tiles.h"

namespace zerostream {
namespace {

constexpr int64_t kSumRowBytes = kPanelOutputs * int64_t{sizeof(float)};
constexpr int64_t kMaxTaskRows = 512;
constexpr int64_t kMinTaskRows = 64;

constexpr int64_t kTileRowBytes = 64;  // what a tile takes of a row of the source

// With no more rows than this the time goes into reading the weights: they are read panel by panel,
// as they rest and in one go, fetched a few tiles ahead, or in short runs where tiles are made.
constexpr int64_t kFewRows = 32;
constexpr int64_t kAheadTiles = 4;
constexpr int64_t kMadeInputs = kQuantisedSpan;

// With more rows inputs are multiplied in runs: while a run's part of the source is at hand, copied
// to a worker's scratch, all panels of the task use it. A gap behind each copied row keeps rows out
// of each other's cache sets.
constexpr int64_t kCopiedRowGap = 64;
constexpr int64_t kMaxRunTiles = 8;

// A worker's scratch: the sums of its task, a run of the source, a run of tiles for weights that
// rest in others.
constexpr int64_t kSumsBytes = int64_t{1} << 20;
constexpr int64_t kSourceBytes = int64_t{288} << 10;
constexpr int64_t kTilesBytes = kMaxRunTiles * kTileBytes;
static_assert(kSumsBytes + kSourceBytes + kTilesBytes <= kLinearScratchBytes);

// Numbers of the source that are worth handing to another worker.
constexpr int64_t kQuantisedElements = 16384;

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

// The left operand: the source itself, or its rows as integers.
struct Operand {
  DType dtype = DType::kF32;
  const std::byte* data = nullptr;
  int64_t row_bytes = 0;
  QuantisedRows integers = {};  // of int8 activations
};

class Multiplication {
 public:
  Multiplication(const LinearArgs& args, const Operand& operand, CpuStream& stream)
      : args_(args),
        operand_(operand),
        stream_(stream),
        weight_(args.weight, operand.dtype, stream.isa()),
        kernel_(panel_kernel(operand.dtype, stream.isa())),
        finish_(finish_panel(stream.isa())),
        cut_(make_cut(args, stream.pool().workers())) {}

  // Neighbouring tasks share their weights, so that all but the first find them in a cache.
  void run() {
    stream_.pool().parallel_for(cut_.tasks(), [this](int worker, int64_t index) {
      Task task = {.row = index % cut_.row_tasks * cut_.task_rows,
                   .panel = index / cut_.row_tasks * cut_.task_groups * cut_.group_panels,
                   .scratch = stream_.scratch(worker)};
      task.rows = std::min(cut_.task_rows, args_.target.rows - task.row);
      task.panel_end =
          std::min(task.panel + cut_.task_groups * cut_.group_panels, args_.weight.panels());
      run_task(task);
    });
  }

 private:
  struct Task {
    int64_t row = 0;
    int64_t rows = 0;
    int64_t panel = 0;
    int64_t panel_end = 0;
    std::byte* scratch = nullptr;

    float* sums(int64_t of_panel) const {
      return reinterpret_cast<float*>(scratch + (of_panel - panel) * rows * kSumRowBytes);
    }
    std::byte* source() const { return scratch + kSumsBytes; }
    std::byte* tiles() const { return scratch + kSumsBytes + kSourceBytes; }
    bool few_rows() const { return rows <= kFewRows; }
  };

  void run_task(const Task& task) const {
    if (task.few_rows())
      run_by_panels(task);
    else
      run_by_tiles(task);
  }

  void run_by_panels(const Task& task) const {
    const int64_t run_tiles =
        weight_.rest_as_multiplied() ? weight_.count() : kMadeInputs / tile_inputs(operand_.dtype);
    for (int64_t panel = task.panel; panel < task.panel_end; ++panel) {
      for (int64_t tile = 0; tile < weight_.count(); tile += run_tiles) {
        PanelProduct product = make_product(task, tile, run_tiles);
        product.next_tiles = weight_.resting(panel, tile + kAheadTiles);
        if (!weight_.rest_as_multiplied()) product.next_bytes = 0;  // the maker fetches
        multiply_run(task, panel, tile, product);
      }
      finish_group(task, panel);
    }
  }

  void run_by_tiles(const Task& task) const {
    const int64_t fitting =
        std::min(kMaxRunTiles, (kSourceBytes / task.rows - kCopiedRowGap) / kTileRowBytes);
    const int64_t run_tiles = fitting / weight_.run_multiple() * weight_.run_multiple();
    for (int64_t tile = 0; tile < weight_.count(); tile += run_tiles) {
      PanelProduct product = make_product(task, tile, run_tiles);
      product.next_bytes = weight_.resting_bytes();
      copy_source(task, product);
      for (int64_t panel = task.panel; panel < task.panel_end; ++panel) {
        product.next_tiles = panel + 1 < task.panel_end
                                 ? weight_.resting(panel + 1, tile)
                                 : weight_.resting(task.panel, tile + run_tiles);
        multiply_run(task, panel, tile, product);
        if (tile + run_tiles >= weight_.count()) finish_group(task, panel);
      }
    }
  }

  // What the products of all panels with tiles from `tile` on have in common.
  PanelProduct make_product(const Task& task, int64_t tile, int64_t run_tiles) const {
    return {.source = operand_.data + task.row * operand_.row_bytes + tile * kTileRowBytes,
            .source_row_bytes = operand_.row_bytes,
            .rows = task.rows,
            .num_tiles = std::min(run_tiles, weight_.count() - tile),
            .keep_sums = tile > 0};
  }

  void copy_source(const Task& task, PanelProduct& product) const {
    const int64_t run_bytes = product.num_tiles * kTileRowBytes;
    const int64_t copied_row_bytes = run_bytes + kCopiedRowGap;
    for (int64_t row = 0; row < task.rows; ++row)
      std::memcpy(task.source() + row * copied_row_bytes,
                  product.source + row * product.source_row_bytes, static_cast<size_t>(run_bytes));
    product.source = task.source();
    product.source_row_bytes = copied_row_bytes;
  }

  void multiply_run(const Task& task, int64_t panel, int64_t tile, PanelProduct& product) const {
    product.tiles = weight_.tiles(panel, tile, product.num_tiles, task.tiles());
    product.sums = task.sums(panel);
    if (args_.int8_activations) {
      const QuantisedRows& rows = operand_.integers;
      product.groups = weight_.groups(panel, tile, product.num_tiles);
      product.groups.source_sums =
          rows.group_sums + task.row * rows.groups + weight_.group_of(tile);
      product.groups.source_sums_stride = rows.groups;
    }
    kernel_(product);
  }

  // Finishes the group that ends with this panel, if one does.
  void finish_group(const Task& task, int64_t panel) const {
    const int64_t group_panel = panel % cut_.group_panels;
    if (group_panel + 1 < cut_.group_panels) return;
    const float* steps = operand_.integers.steps;
    finish_(args_, {.row_begin = task.row,
                    .rows = task.rows,
                    .col_begin = panel / cut_.group_panels * kPanelOutputs,
                    .gate = task.sums(panel - group_panel),
                    .up = group_panel > 0 ? task.sums(panel) : nullptr,
                    .row_scales = steps != nullptr ? steps + task.row : nullptr});
  }

  const LinearArgs& args_;
  const Operand& operand_;
  CpuStream& stream_;
  const WeightTiles weight_;
  const PanelKernel kernel_;
  const FinishPanel finish_;
  const Cut cut_;
};

void multiply(const LinearArgs& args, CpuStream& stream) {
  const Operand operand = {.dtype = args.source.dtype,
                           .data = args.source.data,
                           .row_bytes = dtype_bytes(args.source.dtype, args.source.row_stride)};
  Multiplication(args, operand, stream).run();
}

// What the shared scratch takes of a row: integers, sums of groups, step.
int64_t quantised_row_bytes(const PackedWeight& weight) {
  return round_up(weight.inputs, kQuantisedSpan) + (weight.groups() + 1) * int64_t{sizeof(float)};
}

void multiply_integers(const LinearArgs& args, CpuStream& stream) {
  const int64_t row_bytes = round_up(args.weight.inputs, kQuantisedSpan);
  const int64_t rows = args.target.rows;
  std::byte* scratch = stream.shared_scratch();
  auto* steps = reinterpret_cast<float*>(scratch + rows * row_bytes);
  const QuantisedRows integers = {.data = scratch,
                                  .row_bytes = row_bytes,
                                  .steps = steps,
                                  .group_sums = steps + rows,
                                  .groups = args.weight.groups(),
                                  .group_size = args.weight.group_size};
  const QuantiseRows quantise = quantise_rows(stream.isa());
  const int64_t step = std::max<int64_t>(1, kQuantisedElements / row_bytes);
  stream.pool().parallel_for(ceil_div(rows, step), [&](int, int64_t index) {
    quantise(args.source, index * step, std::min((index + 1) * step, rows), integers);
  });
  const Operand operand = {
      .dtype = DType::kI8, .data = scratch, .row_bytes = row_bytes, .integers = integers};
  Multiplication(args, operand, stream).run();
}

// As many rows at once as the shared scratch holds.
void multiply_integers_in_blocks(LinearArgs args, CpuStream& stream) {
  const int64_t rows = args.target.rows;
  const int64_t block =
      even_block(rows, stream.shared_scratch_bytes() / quantised_row_bytes(args.weight));
  const TensorView source = args.source, target = args.target;
  for (int64_t row = 0; row < rows; row += block) {
    const int64_t count = std::min(block, rows - row);
    args.source = source.row_range(row, count);
    args.target = target.row_range(row, count);
    multiply_integers(args, stream);
  }
}

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
  require(
      !args.int8_activations || stream.shared_scratch_bytes() >= quantised_row_bytes(args.weight),
      "the shared scratch holds a row of integers");
  if (args.target.rows == 0) return;
  if (args.int8_activations)
    stream.enqueue([args, &stream] { multiply_integers_in_blocks(args, stream); });
  else
    stream.enqueue([args, &stream] { multiply(args, stream); });
}

}  // namespace zerostream
