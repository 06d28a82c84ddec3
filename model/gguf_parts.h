// GGUF models that are split into several files: NAME-00001-of-00003.gguf, ...
#pragma once

#include <string>
#include <vector>

#include "model/json.h"

namespace zerostream {

// The files of the model that `path`, a file of this metadata, is or is any part of, the first one
// first: as its name and its `split.count` say. Throws CheckpointError if the two differ, or a part
// is missing.
std::vector<std::string> gguf_parts(const std::string& path, const Json& metadata);

// Throws CheckpointError unless the metadata of part `index`, counted from 0, is that of this part
// of so many.
void check_gguf_part(const Json& metadata, const std::vector<std::string>& parts, size_t index);

}  // namespace zerostream
