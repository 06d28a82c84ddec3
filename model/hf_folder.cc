// Hugging Face folders.
#include <string>
#include <utility>

#include "model/checkpoint_content.h"
#include "model/folder_tokenizer.h"
#include "model/folder_weights.h"
#include "model/fp8_scales.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

Json read_if_there(const std::string& path, Json otherwise) {
  return file_exists(path) ? read_json_file(path) : std::move(otherwise);
}

void read_tokenizer(const std::string& folder, CheckpointContent& content) {
  content.tokenizer = read_if_there(folder + "/tokenizer.json", nullptr);
  content.tokenizer_config = read_if_there(folder + "/tokenizer_config.json", nullptr);
  if (!content.tokenizer.is_null()) return;
  try {
    content.tokenizer = folder_tokenizer_json(folder);
  } catch (const CheckpointError& error) {
    content.tokenizer_problem = error.what();
  }
}

}  // namespace

CheckpointContent open_folder(const std::string& path, FolderWeights weights) {
  CheckpointContent content;
  content.format = "config only";
  content.config = read_json_file(path + "/config.json");
  content.generation_config = read_if_there(path + "/generation_config.json", Json::object());
  if (!content.generation_config.is_object())
    throw CheckpointError(path + "/generation_config.json: not a JSON object");
  read_tokenizer(path, content);
  if (weights == FolderWeights::kRead)
    read_folder_weights(path, content);
  else
    attach_fp8_scales(content.config, content.tensors, path);
  return content;
}

}  // namespace zerostream
