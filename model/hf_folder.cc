// Hugging Face folders: config.json and safetensors files.
#include <filesystem>
#include <map>
#include <string>
#include <utility>

#include "model/checkpoint_content.h"
#include "model/safetensors.h"
#include "model/storage_type.h"
#include "model/tensor_shape.h"
#include "model/weights.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr const char* kSingleFile = "/model.safetensors";
constexpr const char* kIndexFile = "/model.safetensors.index.json";

Json read_if_there(const std::string& path, Json otherwise) {
  return file_exists(path) ? read_json_file(path) : std::move(otherwise);
}

// Tensor name to shard name.
using WeightMap = std::map<std::string, std::string>;

WeightMap read_index(const std::string& path) {
  const Json index = read_json_file(path);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object())
    throw CheckpointError(path + ": there is no \"weight_map\" in it");
  WeightMap map;
  for (const auto& [tensor, shard] : index["weight_map"].items()) {
    const std::string name = shard.is_string() ? shard.get<std::string>() : "";
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos)
      throw CheckpointError(path + ": tensor " + tensor + ": " + shard.dump() +
                            " is not the name of a file in the same folder");
    map.emplace(tensor, name);
  }
  return map;
}

class FolderReader {
 public:
  FolderReader(const std::string& folder, CheckpointContent& content)
      : folder_(folder), content_(content) {}

  void read() {
    if (file_exists(folder_ + kSingleFile)) {
      add_file(folder_ + kSingleFile);
    } else if (file_exists(folder_ + kIndexFile)) {
      read_shards(folder_ + kIndexFile);
    } else {
      throw CheckpointError(
          folder_ + ": there is neither model.safetensors nor model.safetensors.index.json" +
          (file_exists(folder_ + "/pytorch_model.bin")
               ? "; convert its pytorch_model.bin to safetensors"
               : ""));
    }
    rename();
    drop_buffers();
  }

 private:
  void read_shards(const std::string& index_path) {
    const WeightMap map = read_index(index_path);
    std::map<std::string, int32_t> files;
    for (const auto& [tensor, shard] : map)
      if (!files.contains(shard)) files.emplace(shard, add_shard(shard, map, index_path));
    std::map<std::string, int32_t> found;
    for (const CheckpointTensor& tensor : content_.tensors) found.emplace(tensor.name, tensor.file);
    for (const auto& [tensor, shard] : map)
      if (!found.contains(tensor))
        throw CheckpointError(folder_ + "/" + shard + ": tensor " + tensor +
                              " is missing, the index says that it is there");
  }

  int32_t add_shard(const std::string& shard, const WeightMap& map, const std::string& index_path) {
    const std::string path = folder_ + "/" + shard;
    if (!file_exists(path))
      throw CheckpointError(path + " is missing, " + index_path + " names it");
    const size_t first = content_.tensors.size();
    const int32_t file = add_file(path);
    for (size_t i = first; i < content_.tensors.size(); ++i) {
      const auto entry = map.find(content_.tensors[i].name);
      if (entry == map.end() || entry->second != shard)
        throw CheckpointError(path + ": tensor " + content_.tensors[i].name +
                              " is here, the index says " +
                              (entry == map.end() ? "nothing of it" : entry->second));
    }
    return file;
  }

  int32_t add_file(const std::string& path) {
    const auto file = static_cast<int32_t>(content_.files.size());
    content_.files.emplace_back(path);
    for (SafetensorsTensor& tensor : read_safetensors_header(content_.files.back())) {
      dtypes_.push_back(std::move(tensor.dtype));
      content_.tensors.push_back({.name = std::move(tensor.name),
                                  .shape = std::move(tensor.shape),
                                  .file = file,
                                  .offset = tensor.offset,
                                  .bytes = tensor.bytes});
    }
    return file;
  }

  void rename() {
    std::vector<std::string> names;
    for (const CheckpointTensor& tensor : content_.tensors) names.push_back(tensor.name);
    const Json& config = content_.config;
    const bool typed =
        config.is_object() && config.contains("model_type") && config["model_type"].is_string();
    canonicalise_tensor_names(typed ? config["model_type"].get<std::string>() : "", names);
    for (size_t i = 0; i < names.size(); ++i) content_.tensors[i].name = names[i];
  }

  // Buffers lost their names; what stays must be of a type that can be read.
  void drop_buffers() {
    std::vector<CheckpointTensor> kept;
    for (size_t i = 0; i < content_.tensors.size(); ++i) {
      CheckpointTensor& tensor = content_.tensors[i];
      if (tensor.name.empty()) continue;
      const auto type = storage_type_from_name(dtypes_[i]);
      if (!type)
        throw CheckpointError(content_.files[static_cast<size_t>(tensor.file)].path() +
                              ": tensor " + tensor.name + " " + shape_text(tensor.shape) +
                              ": dtype " + dtypes_[i] + " is not supported");
      tensor.type = *type;
      kept.push_back(std::move(tensor));
    }
    content_.tensors = std::move(kept);
  }

  const std::string& folder_;
  CheckpointContent& content_;
  std::vector<std::string> dtypes_;  // of content_.tensors, as written
};

void read_tokenizer(const std::string& folder, CheckpointContent& content) {
  content.tokenizer = read_if_there(folder + "/tokenizer.json", nullptr);
  content.tokenizer_config = read_if_there(folder + "/tokenizer_config.json", nullptr);
  if (!content.tokenizer.is_null()) return;
  for (const char* other : {"tokenizer.model", "vocab.json", "vocab.txt"})
    if (file_exists(folder + "/" + other))
      content.tokenizer_problem = folder + ": " + other + " is there, but no tokenizer.json";
}

}  // namespace

CheckpointContent open_folder(const std::string& path, FolderWeights weights) {
  CheckpointContent content;
  content.format = weights == FolderWeights::kRead ? "safetensors" : "config only";
  content.config = read_json_file(path + "/config.json");
  content.generation_config = read_if_there(path + "/generation_config.json", Json::object());
  if (!content.generation_config.is_object())
    throw CheckpointError(path + "/generation_config.json: not a JSON object");
  read_tokenizer(path, content);
  if (weights == FolderWeights::kRead) FolderReader(path, content).read();
  return content;
}

}  // namespace zerostream
