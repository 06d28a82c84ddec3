#include "offload/planned_layout.h"

#include <filesystem>

#include "model/weights.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

// A folder may lack its weights.
Checkpoint open_checkpoint(const std::string& path) {
  if (!std::filesystem::is_directory(path)) return Checkpoint::open(path);
  Checkpoint checkpoint = Checkpoint::open_config_only(path);
  try {
    return Checkpoint::open(path);
  } catch (const CheckpointError&) {
    return checkpoint;
  }
}

}  // namespace

ModelLayout make_layout(const ModelConfig& config, const StoreFormat& format,
                        int64_t max_segment_bytes) {
  SegmentLayout contents = layout_segments(weight_specs(config), format, max_segment_bytes);
  return {.config = config,
          .dtype = format.dtype,
          .compute_dtype = format.compute_dtype,
          .segments = std::move(contents.segments),
          .vectors_segment = std::move(contents.vectors_segment)};
}

PlannedModel plan_model(const std::string& path, const PackOptions& options) {
  if (PackedStore::is_store(path)) {
    const PackedStore store = open_or_pack(path, "", "", options, [](const std::string&) {});
    return {store.layout(), store.format()};
  }
  const Checkpoint checkpoint = open_checkpoint(path);
  const StoreFormat format = pack_format(checkpoint, options);
  return {make_layout(parse_model_config(checkpoint.config(), checkpoint.path()), format), format};
}

}  // namespace zerostream
