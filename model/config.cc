#include "model/config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "model/architectures/architecture.h"
#include "model/config_fields.h"

namespace zerostream {
namespace {

// Fields that change what a model computes and that no supported architecture has: refused unless
// absent, null, false, 0 or empty.
constexpr std::array<std::string_view, 28> kUnsupported = {
    "quantization_config",
    "compression_config",
    "per_layer_config",
    "is_encoder_decoder",
    "add_cross_attention",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "attention_sinks",
    "attention_chunk_size",
    "query_pre_attn_scalar",
    "clip_qkv",
    "alibi",
    "parallel_attn",
    "use_parallel_residual",
    "num_experts",
    "num_local_experts",
    "n_routed_experts",
    "moe_intermediate_size",
    "kv_lora_rank",
    "q_lora_rank",
    "use_qk_norm",
    "qk_layernorm",
    "qk_norm",
    "rope_interleaved",
    "rope_interleave",
    "no_rope_layers",
    "no_rope_layer_interval",
    "lm_head_bias",
};

// Multipliers of other architectures: refused unless 1 (or absent).
constexpr std::array<std::string_view, 8> kMultipliers = {
    "attention_multiplier", "embedding_multiplier", "residual_multiplier",
    "logits_scaling",       "logit_scale",          "scale_emb",
    "rotary_pct",           "partial_rotary_factor"};

bool is_neutral(const Json& value) {
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_number()) return value.get<double>() == 0;
  return value.empty();
}

void check_unsupported(const ConfigFields& fields) {
  for (const std::string_view key : kUnsupported)
    if (const Json* value = fields.find(key); value != nullptr && !is_neutral(*value))
      fields.refuse(key, "not supported");
  for (const std::string_view key : kMultipliers)
    if (const Json* value = fields.find(key);
        value != nullptr && !(value->is_number() && value->get<double>() == 1))
      fields.refuse(key, "not supported");
}

const Architecture& architecture_of(const ConfigFields& fields) {
  if (!fields.has("model_type"))
    fields.refuse("model_type", "missing; supported are " + supported_model_types());
  const Architecture* found = find_architecture(fields.text_or("model_type", ""));
  if (found == nullptr)
    fields.refuse("model_type",
                  "architecture is not supported; supported are " + supported_model_types());
  const auto classes = fields.texts("architectures");
  const auto fits = [&](const std::string& name) {
    return name == found->causal_class || name == found->base_class;
  };
  if (!classes.empty() && std::ranges::none_of(classes, fits))
    fields.refuse("architectures",
                  "not supported; for this model_type it is " + std::string(found->causal_class));
  return *found;
}

}  // namespace

float ModelConfig::attention_scale() const {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim)));
}

ModelConfig parse_model_config(const Json& config, const std::string& source) {
  const ConfigFields fields(config, source);
  const Architecture& architecture = architecture_of(fields);
  check_unsupported(fields);
  ModelConfig result;
  result.model_type = architecture.model_type;
  architecture.parse(fields, result);
  result.bos_token_ids = fields.token_ids("bos_token_id", result.vocab_size);
  result.eos_token_ids = fields.token_ids("eos_token_id", result.vocab_size);
  return result;
}

}  // namespace zerostream
