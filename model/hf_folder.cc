// Hugging Face folders: config.json and safetensors files.
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "model/checkpoint_content.h"
#include "model/folder_tokenizer.h"
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
    keep_weights();
  }

 private:
  void read_shards(const std::string& index_path) {
    const WeightMap map = read_index(index_path);
    std::set<std::string> shards;
    for (const auto& [tensor, shard] : map) shards.insert(shard);
    for (const std::string& shard : shards)
      if (!file_exists(folder_ + "/" + shard))
        throw CheckpointError(folder_ + "/" + shard + " is missing, " + index_path + " names it");
    for (const std::string& shard : shards) add_shard(shard, map);

    std::set<std::string> found;
    for (const CheckpointTensor& tensor : content_.tensors) found.insert(tensor.name);
    for (const auto& [tensor, shard] : map)
      if (!found.contains(tensor))
        throw CheckpointError(folder_ + "/" + shard + ": tensor " + tensor +
                              " is missing, the index says that it is there");
  }

  void add_shard(const std::string& shard, const WeightMap& map) {
    const std::string path = folder_ + "/" + shard;
    const size_t first = content_.tensors.size();
    add_file(path);
    for (size_t i = first; i < content_.tensors.size(); ++i) {
      const auto entry = map.find(content_.tensors[i].name);
      if (entry == map.end() || entry->second != shard)
        throw CheckpointError(path + ": tensor " + content_.tensors[i].name +
                              " is here, the index says " +
                              (entry == map.end() ? "nothing of it" : entry->second));
    }
  }

  void add_file(const std::string& path) {
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
  }

  // Gives the tensors their canonical names and drops those that hold no weights; what stays must
  // be of a type that can be read.
  void keep_weights() {
    std::vector<std::string> names;
    for (const CheckpointTensor& tensor : content_.tensors) names.push_back(tensor.name);
    canonicalise_tensor_names(model_type(), names);
    std::vector<CheckpointTensor> kept;
    for (size_t i = 0; i < names.size(); ++i) {
      if (names[i].empty()) continue;
      CheckpointTensor& tensor = content_.tensors[i];
      tensor.type = readable_type(tensor, dtypes_[i]);
      tensor.name = std::move(names[i]);
      kept.push_back(std::move(tensor));
    }
    content_.tensors = std::move(kept);
  }

  std::string model_type() const {
    const Json& config = content_.config;
    const bool there =
        config.is_object() && config.contains("model_type") && config["model_type"].is_string();
    return there ? config["model_type"].get<std::string>() : "";
  }

  StorageType readable_type(const CheckpointTensor& tensor, const std::string& dtype) const {
    if (const auto type = storage_type_from_name(dtype)) return *type;
    throw CheckpointError(content_.files[static_cast<size_t>(tensor.file)].path() + ": tensor " +
                          tensor.name + " " + shape_text(tensor.shape) + ": dtype " + dtype +
                          " is not supported");
  }

  const std::string& folder_;
  CheckpointContent& content_;
  std::vector<std::string> dtypes_;  // of content_.tensors, as written
};

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
