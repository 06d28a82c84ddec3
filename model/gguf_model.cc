// GGUF files presented as Hugging Face checkpoints: config from metadata, tensors under HF names.
#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "model/checkpoint_content.h"
#include "model/gguf.h"
#include "model/storage_type.h"
#include "model/tensor_shape.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

// ggml's numbers of the types that can be read.
constexpr std::array<std::pair<uint32_t, StorageType>, 6> kTypes = {{{0, StorageType::kF32},
                                                                     {1, StorageType::kF16},
                                                                     {2, StorageType::kQ4_0},
                                                                     {3, StorageType::kQ4_1},
                                                                     {8, StorageType::kQ8_0},
                                                                     {30, StorageType::kBF16}}};
// Names of others, for messages.
constexpr std::array<std::pair<uint32_t, std::string_view>, 10> kOtherTypes = {{{6, "Q5_0"},
                                                                                {7, "Q5_1"},
                                                                                {10, "Q2_K"},
                                                                                {11, "Q3_K"},
                                                                                {12, "Q4_K"},
                                                                                {13, "Q5_K"},
                                                                                {14, "Q6_K"},
                                                                                {20, "IQ4_NL"},
                                                                                {23, "IQ4_XS"},
                                                                                {39, "MXFP4"}}};

constexpr std::array<std::string_view, 3> kArchitectures = {"llama", "qwen2", "qwen3"};

// Metadata (after "ARCHITECTURE.") that changes what a model computes and has no meaning here:
// refused unless absent, false or 0.
constexpr std::array<std::string_view, 15> kUnsupported = {"expert_count",
                                                           "expert_used_count",
                                                           "attention.sliding_window",
                                                           "attention.scale",
                                                           "logit_scale",
                                                           "residual_scale",
                                                           "embedding_scale",
                                                           "attn_logit_softcapping",
                                                           "final_logit_softcapping",
                                                           "attention.clamp_kqv",
                                                           "use_parallel_residual",
                                                           "attention.temperature_scale",
                                                           "rope.scaling.attn_factor",
                                                           "rope.scaling.yarn_attn_factor",
                                                           "rope.scaling.yarn_log_multiplier"};

constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kModelNames = {
    {{"token_embd.", "model.embed_tokens."},
     {"output_norm.", "model.norm."},
     {"output.", "lm_head."}}};
constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kLayerNames = {
    {{"attn_norm.", "input_layernorm."},
     {"attn_q.", "self_attn.q_proj."},
     {"attn_k.", "self_attn.k_proj."},
     {"attn_v.", "self_attn.v_proj."},
     {"attn_output.", "self_attn.o_proj."},
     {"attn_q_norm.", "self_attn.q_norm."},
     {"attn_k_norm.", "self_attn.k_norm."},
     {"ffn_norm.", "post_attention_layernorm."},
     {"ffn_gate.", "mlp.gate_proj."},
     {"ffn_up.", "mlp.up_proj."},
     {"ffn_down.", "mlp.down_proj."}}};
constexpr std::string_view kRopeDivisors = "rope_freqs.weight";

template <size_t N>
std::optional<std::string> renamed(
    std::string_view name,
    const std::array<std::pair<std::string_view, std::string_view>, N>& table) {
  for (const auto& [from, to] : table)
    if (name.starts_with(from)) return std::string(to) + std::string(name.substr(from.size()));
  return std::nullopt;
}

// Names that are not known stay as they are, to be reported as left over.
std::string hf_name(std::string_view name) {
  constexpr std::string_view kBlock = "blk.";
  if (!name.starts_with(kBlock)) return renamed(name, kModelNames).value_or(std::string(name));
  const size_t dot = name.find('.', kBlock.size());
  if (dot == std::string_view::npos) return std::string(name);
  const auto inner = renamed(name.substr(dot + 1), kLayerNames);
  if (!inner) return std::string(name);
  return "model.layers." + std::string(name.substr(kBlock.size(), dot - kBlock.size())) + "." +
         *inner;
}

std::string type_text(uint32_t type) {
  for (const auto& [number, name] : kOtherTypes)
    if (number == type) return std::string(name);
  return "number " + std::to_string(type);
}

// Metadata of one architecture: keys below "llama.", "qwen2.", ...
class Metadata {
 public:
  Metadata(const GgufHeader& header, const std::string& path)
      : all_(header.metadata), path_(path), architecture_(text("general.architecture")) {}

  const std::string& architecture() const { return architecture_; }

  [[noreturn]] void fail(const std::string& key, const std::string& what) const {
    throw CheckpointError(path_ + ": key " + key + ": " + what);
  }

  // Keys without the architecture before them.
  const Json* find_own(std::string_view key) const { return find(own_name(key)); }
  std::string own_name(std::string_view key) const {
    return architecture_ + "." + std::string(key);
  }
  const Json& required(std::string_view key) const {
    const Json* value = find_own(key);
    if (value == nullptr) fail(own_name(key), "missing");
    return *value;
  }

  const Json* find(const std::string& key) const {
    const auto found = all_.find(key);
    return found == all_.end() ? nullptr : &*found;
  }

 private:
  std::string text(const std::string& key) const {
    const Json* value = find(key);
    if (value == nullptr || !value->is_string()) fail(key, "missing or not a string");
    return value->get<std::string>();
  }

  const Json& all_;
  const std::string& path_;
  std::string architecture_;
};

void check_supported(const Metadata& metadata) {
  if (std::ranges::find(kArchitectures, metadata.architecture()) == kArchitectures.end())
    metadata.fail("general.architecture", "\"" + metadata.architecture() +
                                              "\" is not supported; supported are llama, qwen2 and "
                                              "qwen3");
  if (const Json* splits = metadata.find("split.count");
      splits != nullptr && splits->is_number() && *splits > 1)
    metadata.fail("split.count", "GGUF files in several parts are not supported; merge them");
  for (const std::string_view key : kUnsupported)
    if (const Json* value = metadata.find_own(key);
        value != nullptr && *value != false && *value != 0)
      metadata.fail(metadata.own_name(key), "is " + value->dump() + ", not supported");
}

Json tensor_values(const CheckpointContent& content, const CheckpointTensor& tensor) {
  const auto count = element_count(tensor.shape).value_or(0);
  std::vector<std::byte> bytes(static_cast<size_t>(tensor.bytes));
  content.files.front().read(tensor.offset, bytes.data(), tensor.bytes);
  std::vector<float> values(static_cast<size_t>(count));
  decode_elements(tensor.type, bytes.data(), count, values.data());
  return values;
}

// rope_theta and rope_scaling. `divisors`: content of rope_freqs, or null.
void add_rope(const Metadata& metadata, int64_t head_dim, const Json& divisors, Json& config) {
  if (const Json* theta = metadata.find_own("rope.freq_base")) config["rope_theta"] = *theta;
  if (const Json* rotated = metadata.find_own("rope.dimension_count");
      rotated != nullptr && *rotated != head_dim)
    metadata.fail(metadata.own_name("rope.dimension_count"),
                  "is " + rotated->dump() + ", heads have " + std::to_string(head_dim) +
                      ": partly rotated heads are not supported");
  Json scaling = Json::object();
  if (!divisors.is_null()) scaling = {{"rope_type", "divisors"}, {"divisors", divisors}};
  const Json* kind = metadata.find_own("rope.scaling.type");
  const Json* factor = metadata.find_own("rope.scaling.factor");
  if (kind == nullptr) factor = metadata.find_own("rope.scale_linear");
  const bool scales = kind != nullptr ? *kind != "none" : factor != nullptr && *factor != 1.0;
  if (scales) {
    if (!scaling.empty())
      metadata.fail(metadata.own_name("rope.scaling.type"), "not supported beside rope_freqs");
    scaling["rope_type"] = kind != nullptr ? *kind : Json("linear");
    if (factor != nullptr) scaling["factor"] = *factor;
    constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kKeys = {
        {{"rope.scaling.original_context_length", "original_max_position_embeddings"},
         {"rope.scaling.yarn_beta_fast", "beta_fast"},
         {"rope.scaling.yarn_beta_slow", "beta_slow"}}};
    for (const auto& [from, to] : kKeys)
      if (const Json* value = metadata.find_own(from)) scaling[to] = *value;
  }
  if (!scaling.empty()) config["rope_scaling"] = scaling;
}

void add_token_ids(const Metadata& metadata, Json& config) {
  if (const Json* bos = metadata.find("tokenizer.ggml.bos_token_id")) config["bos_token_id"] = *bos;
  Json eos = Json::array();
  for (const char* key : {"eos", "eot", "eom"}) {
    const Json* id = metadata.find("tokenizer.ggml." + std::string(key) + "_token_id");
    if (id != nullptr && std::ranges::find(eos, *id) == eos.end()) eos.push_back(*id);
  }
  if (!eos.empty()) config["eos_token_id"] = eos;
}

const CheckpointTensor* find_tensor(const CheckpointContent& content, std::string_view name) {
  const auto found = std::ranges::find(content.tensors, name, &CheckpointTensor::name);
  return found == content.tensors.end() ? nullptr : &*found;
}

Json make_config(const Metadata& metadata, const CheckpointContent& content, const Json& divisors) {
  Json config = {{"model_type", metadata.architecture()},
                 {"hidden_size", metadata.required("embedding_length")},
                 {"intermediate_size", metadata.required("feed_forward_length")},
                 {"num_hidden_layers", metadata.required("block_count")},
                 {"num_attention_heads", metadata.required("attention.head_count")},
                 {"max_position_embeddings", metadata.required("context_length")},
                 {"rms_norm_eps", metadata.required("attention.layer_norm_rms_epsilon")}};
  const CheckpointTensor* embedding = find_tensor(content, "model.embed_tokens.weight");
  if (embedding == nullptr || embedding->shape.size() != 2)
    throw CheckpointError(content.files.front().path() + ": tensor token_embd.weight is missing");
  config["vocab_size"] = embedding->shape[0];
  const Json* kv_heads = metadata.find_own("attention.head_count_kv");
  config["num_key_value_heads"] = kv_heads != nullptr ? *kv_heads : config["num_attention_heads"];
  const Json* key_length = metadata.find_own("attention.key_length");
  const Json* value_length = metadata.find_own("attention.value_length");
  if (key_length != nullptr && value_length != nullptr && *key_length != *value_length)
    metadata.fail(metadata.own_name("attention.value_length"),
                  "values of another length than keys are not supported");
  const auto has = [&](std::string_view name) { return find_tensor(content, name) != nullptr; };
  config["tie_word_embeddings"] = !has("lm_head.weight");
  config["attention_bias"] = has("model.layers.0.self_attn.q_proj.bias");
  config["mlp_bias"] = has("model.layers.0.mlp.gate_proj.bias");
  const auto size = [&](std::string_view key) {
    return config[key].is_number_integer() ? config[key].get<int64_t>() : 0;
  };
  const int64_t heads = std::max<int64_t>(size("num_attention_heads"), 1);
  config["head_dim"] = key_length != nullptr ? *key_length : Json(size("hidden_size") / heads);
  add_rope(metadata, size("head_dim"), divisors, config);
  add_token_ids(metadata, config);
  return config;
}

CheckpointTensor read_tensor(const GgufTensor& source, const InputFile& file) {
  const auto fail = [&](const std::string& what) {
    throw CheckpointError(file.path() + ": tensor " + source.name + " " + shape_text(source.shape) +
                          ": " + what);
  };
  const auto found =
      std::ranges::find(kTypes, source.type, [](const auto& entry) { return entry.first; });
  if (found == kTypes.end())
    fail("type " + type_text(source.type) +
         " is not supported (F32, F16, BF16, Q8_0, Q4_0 and Q4_1 are)");
  CheckpointTensor tensor = {.name = hf_name(source.name),
                             .type = found->second,
                             .shape = source.shape,
                             .offset = source.offset};
  const StorageBlock block = storage_block(tensor.type);
  const int64_t elements = element_count(source.shape).value_or(0);
  if (source.shape.empty() || source.shape.back() % block.elements != 0)
    fail("rows are no whole number of blocks of " + std::to_string(block.elements));
  if (__builtin_mul_overflow(elements / block.elements, block.bytes, &tensor.bytes))
    fail("too large");
  if (tensor.bytes > file.size() || tensor.offset > file.size() - tensor.bytes)
    fail("ends at byte " + std::to_string(tensor.offset + tensor.bytes) + ", the file has " +
         std::to_string(file.size()) + ": it is truncated");
  return tensor;
}

void check_overlaps(const CheckpointContent& content) {
  std::vector<const CheckpointTensor*> order;
  for (const CheckpointTensor& tensor : content.tensors) order.push_back(&tensor);
  std::ranges::sort(order, {}, [](const CheckpointTensor* tensor) { return tensor->offset; });
  for (size_t i = 1; i < order.size(); ++i)
    if (order[i - 1]->offset + order[i - 1]->bytes > order[i]->offset)
      throw CheckpointError(content.files.front().path() + ": tensors " + order[i - 1]->name +
                            " and " + order[i]->name + " overlap");
}

// llama files hold q and k with the halves of each head interleaved.
void mark_permuted(Json& config, CheckpointContent& content) {
  for (CheckpointTensor& tensor : content.tensors) {
    const bool query = tensor.name.find(".self_attn.q_proj.") != std::string::npos;
    const bool key = tensor.name.find(".self_attn.k_proj.") != std::string::npos;
    if (!query && !key) continue;
    const Json& heads = config[query ? "num_attention_heads" : "num_key_value_heads"];
    const int64_t count = heads.is_number_integer() ? heads.get<int64_t>() : 0;
    if (count <= 0 || count > INT32_MAX || tensor.shape[0] % (2 * count) != 0)
      throw CheckpointError(content.files.front().path() + ": tensor " + tensor.name + " " +
                            shape_text(tensor.shape) + " is not made of " + heads.dump() +
                            " heads");
    tensor.permuted_heads = static_cast<int32_t>(count);
  }
}

void add_tokenizer(const Json& metadata, const std::string& path, CheckpointContent& content) {
  if (!metadata.contains("tokenizer.ggml.model")) return;
  try {
    content.tokenizer = gguf_tokenizer_json(metadata, path);
  } catch (const CheckpointError& error) {
    content.tokenizer_problem = error.what();
  }
  if (const auto chat = metadata.find("tokenizer.chat_template"); chat != metadata.end())
    content.tokenizer_config = {{"chat_template", *chat}};
}

}  // namespace

CheckpointContent open_gguf(const std::string& path) {
  const GgufHeader header = read_gguf_header(path);
  const Metadata metadata(header, path);
  check_supported(metadata);
  CheckpointContent content;
  content.format = "gguf";
  content.files.emplace_back(path);
  Json divisors;
  for (const GgufTensor& source : header.tensors) {
    CheckpointTensor tensor = read_tensor(source, content.files.front());
    if (source.name == kRopeDivisors)
      divisors = tensor_values(content, tensor);
    else
      content.tensors.push_back(std::move(tensor));
  }
  check_overlaps(content);
  content.config = make_config(metadata, content, divisors);
  if (metadata.architecture() == "llama") mark_permuted(content.config, content);
  add_tokenizer(header.metadata, path, content);
  return content;
}

}  // namespace zerostream
