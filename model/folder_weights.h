// The weight files of a Hugging Face folder.
#pragma once

#include <string>

#include "model/checkpoint_content.h"

namespace zerostream {

// Finds model.safetensors or pytorch_model.bin, or the shards that an index of either names (only
// files of the same folder; safetensors come first), and fills in the format, files and tensors of
// `content`, whose config is there. Tensors get their canonical names; masks and rotary frequencies
// are left out, fp8 weights get their scales, and a tied head that is nothing but the embedding
// again is dropped or, where it stands alone, takes its place. Throws CheckpointError naming file
// and tensors.
void read_folder_weights(const std::string& folder, CheckpointContent& content);

}  // namespace zerostream
