#include "offload/matrix_packer.h"

#include <algorithm>
#include <cstring>
#include <future>
#include <span>
#include <string>

#include "offload/tile_pack.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

// Where the numbers of some panels come from.
struct PanelSource {
  std::span<const SourceTensor> sources;
  int64_t begin = 0;
  int64_t rows = 0;  // at most 64 per panel
};

PanelSource panel_source(const MatrixSpec& spec, const StoredMatrix& run, int64_t panel,
                         int64_t panels) {
  const std::span<const SourceTensor> all(spec.sources);
  const int64_t unit = run.gated ? panel / 2 : panel;
  const int64_t begin = unit * kPanelOutputs;
  const int64_t rows = std::min(panels * kPanelOutputs, run.outputs - begin);
  return {run.gated ? all.subspan(static_cast<size_t>(panel % 2), 1) : all,
          run.output_begin + begin, rows};
}

bool pack_rows(const float* source, int64_t rows, const StoredMatrix& run, std::byte* target) {
  const bool finite = convert_floats(source, rows * run.inputs, run.dtype, target);
  if (run.gated) {
    const int64_t used = dtype_bytes(run.dtype, rows * run.inputs);
    std::memset(target + used, 0, static_cast<size_t>(stored_panel_bytes(run) - used));
  }
  return finite;
}

void refuse_overflow(const PanelSource& source, DType dtype) {
  std::string names;
  for (const SourceTensor& tensor : source.sources) {
    names += (names.empty() ? "" : " or ") + tensor.name;
  }
  const bool quantised = is_quantised(dtype);
  throw CheckpointError(names + " holds a number that is too large" +
                        (quantised ? ", or not finite," : "") + " for " +
                        std::string(dtype_name(dtype)) + "; pack with another dtype");
}

}  // namespace

int64_t stored_panel_bytes(const StoredMatrix& run) {
  const PackedWeight weight = run.weight(nullptr);
  return run.layout == WeightLayout::kTile64 ? weight.panel_bytes()
                                             : dtype_bytes(run.dtype, kPanelOutputs * run.inputs);
}

MatrixPacker::MatrixPacker(const WeightSource& weights, int threads)
    : weights_(weights), scratch_(static_cast<size_t>(std::max(threads, 1))) {}

void MatrixPacker::pack(const MatrixSpec& spec, const StoredMatrix& run, int64_t panel_begin,
                        int64_t panel_end, std::byte* target) {
  const int64_t panels = panel_end - panel_begin;
  const int64_t shares = std::min(static_cast<int64_t>(scratch_.size()), panels);
  std::vector<std::future<void>> others;
  for (int64_t share = shares; share-- > 0;) {
    const int64_t begin = panel_begin + panels * share / shares;
    const int64_t end = panel_begin + panels * (share + 1) / shares;
    const auto work = [&, begin, end, share] {
      pack_share(spec, run, begin, end, target + (begin - panel_begin) * stored_panel_bytes(run),
                 scratch_[static_cast<size_t>(share)]);
    };
    if (share > 0) {
      others.push_back(std::async(std::launch::async, work));
    } else {
      work();
    }
  }
  for (std::future<void>& other : others) other.get();
}

void MatrixPacker::pack_share(const MatrixSpec& spec, const StoredMatrix& run, int64_t panel_begin,
                              int64_t panel_end, std::byte* target, Scratch& scratch) const {
  // Every call for a transposed source reads its whole tensor, so it asks for all panels at once.
  const bool at_once = !run.gated && !spec.sources.empty() && spec.sources.front().transposed;
  const int64_t step = at_once ? panel_end - panel_begin : 1;
  scratch.rows.resize(static_cast<size_t>(step * kPanelOutputs * run.inputs));
  const PackedWeight weight = run.weight(nullptr);
  scratch.panel.resize(static_cast<size_t>(panel_scratch_bytes(weight)));
  for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
    if ((panel - panel_begin) % step == 0) {
      const PanelSource source = panel_source(spec, run, panel, step);
      read_outputs(weights_, source.sources, run.inputs, source.begin, source.rows,
                   scratch.rows.data());
    }
    const PanelSource source = panel_source(spec, run, panel, 1);
    const float* rows =
        scratch.rows.data() + (panel - panel_begin) % step * kPanelOutputs * run.inputs;
    const bool fits = run.layout == WeightLayout::kTile64
                          ? pack_panel(rows, source.rows, weight, scratch.panel.data(), target)
                          : pack_rows(rows, source.rows, run, target);
    if (!fits) refuse_overflow(source, run.dtype);
    target += stored_panel_bytes(run);
  }
}

}  // namespace zerostream
