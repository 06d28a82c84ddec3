// The config.json that a GGUF file would have.
#pragma once

#include <string>
#include <vector>

#include "model/checkpoint.h"
#include "model/json.h"

namespace zerostream {

// Makes it from the metadata and from which tensors there are (under Hugging Face names).
// `rope_divisors`: the values of rope_freqs, or null. `source` names the file in errors. Throws
// CheckpointError naming the key: an architecture or a setting that is not supported, a key that is
// missing. Values are checked later, by parse_model_config().
Json gguf_config(const Json& metadata, const std::vector<CheckpointTensor>& tensors,
                 const Json& rope_divisors, const std::string& source);

}  // namespace zerostream
