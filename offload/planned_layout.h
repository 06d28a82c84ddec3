// What a store of a model would hold, known without packing it.
#pragma once

#include <string>

#include "model/config.h"
#include "offload/model_layout.h"
#include "offload/pack.h"
#include "offload/segment_layout.h"

namespace zerostream {

ModelLayout make_layout(const ModelConfig& config, const StoreFormat& format,
                        int64_t max_segment_bytes = kSegmentBytes);

struct PlannedModel {
  ModelLayout layout;
  StoreFormat format;
};

// Of a packed store (what it holds), or of a Hugging Face folder or GGUF file (what packing it with
// these options would give). A folder needs no weights: config.json alone is enough, and "as
// stored" is then the dtype that it names. Reads headers only. Throws CheckpointError, IoError, and
// UsageError where a store holds something else than the options ask for.
PlannedModel plan_model(const std::string& path, const PackOptions& options);

}  // namespace zerostream
