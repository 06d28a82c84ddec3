#include "model/folder_weights.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "model/architectures/architecture.h"
#include "model/fp8_scales.h"
#include "model/safetensors.h"
#include "model/storage_type.h"
#include "model/tensor_shape.h"
#include "model/torch_file.h"
#include "model/weights.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr std::string_view kHead = "lm_head.weight";

struct WeightFormat {
  std::string_view name;
  std::string_view single_file;
  std::string_view index_file;
  std::vector<FileTensor> (*read)(const InputFile& file);
};

constexpr std::array<WeightFormat, 2> kFormats = {
    {{"safetensors", "/model.safetensors", "/model.safetensors.index.json",
      read_safetensors_header},
     {"pytorch", "/pytorch_model.bin", "/pytorch_model.bin.index.json", read_torch_file}}};

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

std::string model_type_of(const Json& config) {
  const bool there =
      config.is_object() && config.contains("model_type") && config["model_type"].is_string();
  return there ? config["model_type"].get<std::string>() : "";
}

class FolderReader {
 public:
  FolderReader(const std::string& folder, CheckpointContent& content)
      : folder_(folder), content_(content) {}

  void read() {
    for (const WeightFormat& format : kFormats) {
      read_tensors_ = format.read;
      content_.format = format.name;
      const std::string single = folder_ + std::string(format.single_file);
      const std::string index = folder_ + std::string(format.index_file);
      if (file_exists(single)) {
        add_file(single);
      } else if (file_exists(index)) {
        read_shards(index);
      } else {
        continue;
      }
      return keep_weights();
    }
    throw CheckpointError(folder_ +
                          ": there is neither model.safetensors nor pytorch_model.bin, nor an "
                          "index of shards of either (NAME.index.json)");
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
    for (FileTensor& tensor : read_tensors_(content_.files.back())) {
      dtypes_.push_back(std::move(tensor.dtype));
      content_.tensors.push_back({.name = std::move(tensor.name),
                                  .shape = std::move(tensor.shape),
                                  .file = file,
                                  .offset = tensor.offset,
                                  .bytes = tensor.bytes,
                                  .transposed = tensor.transposed});
    }
  }

  // Gives the tensors their canonical names and drops those that hold no weights; what stays must
  // be of a type that can be read.
  void keep_weights() {
    std::vector<std::string> names;
    for (const CheckpointTensor& tensor : content_.tensors) names.push_back(tensor.name);
    canonicalise_tensor_names(model_type_of(content_.config), names);
    std::vector<CheckpointTensor> kept;
    std::string unreadable;
    for (size_t i = 0; i < names.size(); ++i) {
      if (names[i].empty()) continue;
      CheckpointTensor& tensor = content_.tensors[i];
      const auto type = storage_type_from_name(dtypes_[i]);
      if (!type)
        unreadable += "\n  " + content_.files[static_cast<size_t>(tensor.file)].path() +
                      ": tensor " + tensor.name + " " + shape_text(tensor.shape) + ": dtype " +
                      dtypes_[i] + " is not supported";
      tensor.type = type.value_or(StorageType::kF32);
      tensor.name = std::move(names[i]);
      kept.push_back(std::move(tensor));
    }
    if (!unreadable.empty()) throw CheckpointError("tensors that cannot be read:" + unreadable);
    content_.tensors = std::move(kept);
    attach_fp8_scales(content_.config, content_.tensors, folder_);
    settle_tied_head();
  }

  void settle_tied_head() {
    const auto head = std::ranges::find(content_.tensors, kHead, &CheckpointTensor::name);
    if (head == content_.tensors.end() ||
        find_architecture(model_type_of(content_.config)) == nullptr)
      return;
    const ModelConfig config = parse_model_config(content_.config, folder_ + "/config.json");
    if (!config.tie_word_embeddings) return;
    const WeightSpecs specs = weight_specs(config);
    const auto embedding_spec =
        std::ranges::find(specs.matrices, MatrixRole::kTokenEmbedding, &MatrixSpec::role);
    const std::string& name = embedding_spec->sources.front().name;
    const auto embedding = std::ranges::find(content_.tensors, name, &CheckpointTensor::name);
    if (embedding == content_.tensors.end()) {
      head->name = name;
    } else if (embedding->file == head->file && embedding->offset == head->offset &&
               embedding->shape == head->shape && embedding->transposed == head->transposed) {
      content_.tensors.erase(head);
    }
  }

  const std::string& folder_;
  CheckpointContent& content_;
  std::vector<FileTensor> (*read_tensors_)(const InputFile& file) = nullptr;
  std::vector<std::string> dtypes_;  // of content_.tensors, as written
};

}  // namespace

void read_folder_weights(const std::string& folder, CheckpointContent& content) {
  FolderReader(folder, content).read();
}

}  // namespace zerostream
