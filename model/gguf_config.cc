#include "model/gguf_config.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "zerostream/error.h"

namespace zerostream {
namespace {

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

// Metadata of one architecture: keys below "llama.", "qwen2.", ...
class Metadata {
 public:
  Metadata(const Json& all, const std::string& path)
      : all_(all), path_(path), architecture_(text("general.architecture")) {}

  const std::string& architecture() const { return architecture_; }

  [[noreturn]] void fail(const std::string& key, const std::string& what) const {
    throw CheckpointError(path_ + ": key " + key + ": " + what);
  }

  [[noreturn]] void fail_tensor(const std::string& name, const std::string& what) const {
    throw CheckpointError(path_ + ": tensor " + name + ": " + what);
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
  for (const std::string_view key : kUnsupported)
    if (const Json* value = metadata.find_own(key);
        value != nullptr && *value != false && *value != 0)
      metadata.fail(metadata.own_name(key), "is " + value->dump() + ", not supported");
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

const CheckpointTensor* find_tensor(const std::vector<CheckpointTensor>& tensors,
                                    std::string_view name) {
  const auto found = std::ranges::find(tensors, name, &CheckpointTensor::name);
  return found == tensors.end() ? nullptr : &*found;
}

Json make_config(const Metadata& metadata, const std::vector<CheckpointTensor>& tensors,
                 const Json& divisors) {
  Json config = {{"model_type", metadata.architecture()},
                 {"hidden_size", metadata.required("embedding_length")},
                 {"intermediate_size", metadata.required("feed_forward_length")},
                 {"num_hidden_layers", metadata.required("block_count")},
                 {"num_attention_heads", metadata.required("attention.head_count")},
                 {"max_position_embeddings", metadata.required("context_length")},
                 {"rms_norm_eps", metadata.required("attention.layer_norm_rms_epsilon")}};
  const CheckpointTensor* embedding = find_tensor(tensors, "model.embed_tokens.weight");
  if (embedding == nullptr || embedding->shape.size() != 2)
    metadata.fail_tensor("token_embd.weight", "missing");
  config["vocab_size"] = embedding->shape[0];
  const Json* kv_heads = metadata.find_own("attention.head_count_kv");
  config["num_key_value_heads"] = kv_heads != nullptr ? *kv_heads : config["num_attention_heads"];
  const Json* key_length = metadata.find_own("attention.key_length");
  const Json* value_length = metadata.find_own("attention.value_length");
  if (key_length != nullptr && value_length != nullptr && *key_length != *value_length)
    metadata.fail(metadata.own_name("attention.value_length"),
                  "values of another length than keys are not supported");
  const auto has = [&](std::string_view name) { return find_tensor(tensors, name) != nullptr; };
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

}  // namespace

Json gguf_config(const Json& metadata, const std::vector<CheckpointTensor>& tensors,
                 const Json& rope_divisors, const std::string& source) {
  const Metadata fields(metadata, source);
  check_supported(fields);
  return make_config(fields, tensors, rope_divisors);
}

}  // namespace zerostream
