#include <algorithm>
#include <cmath>
#include <iostream>
#include <map>
#include <memory>

#include "base/bytes.h"
#include "cli/commands.h"
#include "model/checkpoint.h"
#include "offload/manifest.h"
#include "offload/packed_store.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using OrderedJson = nlohmann::ordered_json;

struct InfoFlags {
  std::string path;
  bool json = false, verify = false;
};

OrderedJson model_info(const ModelConfig& config) {
  return {{"model_type", config.model_type},
          {"vocab_size", config.vocab_size},
          {"hidden_size", config.hidden_size},
          {"intermediate_size", config.intermediate_size},
          {"num_hidden_layers", config.num_hidden_layers},
          {"num_attention_heads", config.num_attention_heads},
          {"num_key_value_heads", config.num_key_value_heads},
          {"head_dim", config.head_dim},
          {"max_position_embeddings", config.max_position_embeddings},
          {"tie_word_embeddings", config.tie_word_embeddings}};
}

// Bits that the layers' matrices take in the store for each of their weights: scales, zeros and
// padding count.
double bits_per_weight(const PackedStore& store) {
  int64_t bits = 0, weights = 0;
  for (const Segment& segment : store.segments()) {
    for (const StoredMatrix& matrix : segment.matrices) {
      if (matrix.layer == kNoLayer) continue;
      bits += matrix.bytes() * 8;
      weights += matrix.outputs * matrix.inputs * (matrix.gated ? 2 : 1);
    }
  }
  return weights == 0 ? 0 : static_cast<double>(bits) / static_cast<double>(weights);
}

OrderedJson format_info(const PackedStore& store) {
  const StoreFormat& format = store.format();
  OrderedJson info = {{"dtype", dtype_name(format.dtype)}};
  if (format.quantised()) {
    info["group_size"] = format.group_size;
    info["asymmetric"] = format.has_zeros;
    info["quantised_head"] = format.quantised_head;
    info["compute_dtype"] = dtype_name(format.compute_dtype);
  }
  info["layout"] = layout_name(format.layout);
  info["bits_per_weight"] = std::round(bits_per_weight(store) * 100) / 100;
  return info;
}

OrderedJson store_info(const PackedStore& store) {
  int64_t bytes = store.vectors_segment().bytes, largest = 0;
  for (const Segment& segment : store.segments()) {
    bytes += segment.bytes;
    largest = std::max(largest, segment.bytes);
  }
  OrderedJson info = {
      {"kind", "packed store"}, {"path", store.path()}, {"model", model_info(store.config())}};
  info.update(format_info(store));
  info.update({{"bytes", bytes},
               {"segments", store.segments().size()},
               {"largest_segment_bytes", largest},
               {"tokenizer", store.has_tokenizer()},
               {"fingerprint", store.fingerprint()}});
  return info;
}

OrderedJson checkpoint_info(const Checkpoint& checkpoint) {
  int64_t bytes = 0, parameters = 0;
  std::map<std::string, int64_t> bytes_by_type;
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    int64_t elements = 1;
    for (const int64_t size : tensor.shape) elements *= size;
    parameters += elements;
    bytes += tensor.bytes;
    bytes_by_type[std::string(storage_type_name(tensor.type))] += tensor.bytes;
  }
  OrderedJson info = {
      {"kind", "checkpoint"},
      {"format", checkpoint.format()},
      {"path", checkpoint.path()},
      {"model", model_info(parse_model_config(checkpoint.config(), checkpoint.path()))},
      {"dtype", dtype_name(checkpoint.natural_dtype())},
      {"parameters", parameters},
      {"bytes", bytes},
      {"tensors", checkpoint.tensors().size()},
      {"bytes_by_type", bytes_by_type},
      {"tokenizer", !checkpoint.tokenizer().is_null()},
      {"fingerprint", checkpoint.fingerprint()}};
  if (!checkpoint.tokenizer_problem().empty())
    info["tokenizer_problem"] = checkpoint.tokenizer_problem();
  return info;
}

void print_text(const OrderedJson& info, const std::string& indent) {
  for (const auto& [name, value] : info.items()) {
    std::cout << indent << name << ":";
    if (value.is_object()) {
      std::cout << "\n";
      print_text(value, indent + "  ");
      continue;
    }
    if (value.is_string()) {
      std::cout << " " << value.get<std::string>();
    } else {
      std::cout << " " << value;
    }
    if (name.ends_with("bytes")) std::cout << " (" << format_bytes(value.get<int64_t>()) << ")";
    std::cout << "\n";
  }
}

void info(const InfoFlags& flags) {
  OrderedJson info;
  if (PackedStore::is_store(flags.path)) {
    const PackedStore store = PackedStore::open(flags.path);
    info = store_info(store);
    if (flags.verify) {
      store.verify();
      info["verified"] = true;
    }
  } else {
    if (flags.verify)
      throw UsageError("--verify: " + flags.path + " is no packed store; only those have digests");
    info = checkpoint_info(Checkpoint::open(flags.path));
  }
  if (flags.json) {
    std::cout << json_text(info, 2) << "\n";
  } else {
    print_text(info, "");
  }
}

}  // namespace

void add_info(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<InfoFlags>();
  CLI::App* command =
      app.add_subcommand("info", "Says what a checkpoint, GGUF file or packed store holds");
  command->add_option("PATH", flags->path, "Hugging Face folder, GGUF file or packed store")
      ->required();
  command->add_flag("--json", flags->json, "As JSON");
  command->add_flag("--verify", flags->verify, "Reads a store's weights and checks every digest");
  command->callback([=, &exit_code] {
    info(*flags);
    exit_code = 0;
  });
}

}  // namespace zerostream
