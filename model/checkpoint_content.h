// What the formats of checkpoints have in common once they are open.
#pragma once

#include <string>
#include <vector>

#include "model/checkpoint.h"
#include "model/input_file.h"
#include "model/json.h"

namespace zerostream {

struct CheckpointContent {
  std::string format;
  Json config;
  Json generation_config = Json::object();
  Json tokenizer;
  Json tokenizer_config;
  std::string tokenizer_problem;
  std::vector<InputFile> files;           // that hold tensors
  std::vector<CheckpointTensor> tensors;  // under canonical names, none twice
};

// A Hugging Face folder. Without weights only the JSON files are read.
enum class FolderWeights { kRead, kIgnore };
CheckpointContent open_folder(const std::string& path, FolderWeights weights);

CheckpointContent open_gguf(const std::string& path);

}  // namespace zerostream
