// LLaMA and the models built like it: Mistral, Qwen2, Qwen3.
#include <algorithm>
#include <array>
#include <string>

#include "model/architectures/architecture.h"
#include "model/architectures/spec_builder.h"
#include "model/rope_config.h"

namespace zerostream {
namespace {

// Values of absent fields that differ between the families.
struct Defaults {
  int64_t num_key_value_heads;  // 0: as many as heads
  int64_t head_dim;             // 0: hidden_size / heads
  int64_t max_position_embeddings;
};

void read_heads(const ConfigFields& fields, const Defaults& defaults, ModelConfig& config) {
  config.num_attention_heads = static_cast<int32_t>(fields.integer("num_attention_heads", kCounts));
  const auto all_heads = int64_t{config.num_attention_heads};
  // An explicit null means one per query head, whatever the family's default.
  const bool as_heads = defaults.num_key_value_heads == 0 || fields.is_null("num_key_value_heads");
  config.num_key_value_heads = static_cast<int32_t>(fields.integer_or(
      "num_key_value_heads", as_heads ? all_heads : defaults.num_key_value_heads, kCounts));
  if (all_heads % config.num_key_value_heads != 0)
    fields.refuse("num_key_value_heads", "num_attention_heads (" + std::to_string(all_heads) +
                                             ") is no multiple of " +
                                             std::to_string(config.num_key_value_heads));
  if (!fields.has("head_dim") && defaults.head_dim == 0 && config.hidden_size % all_heads != 0)
    fields.refuse("hidden_size", "not a multiple of num_attention_heads, and head_dim is missing");
  const int64_t head_dim =
      defaults.head_dim != 0 ? defaults.head_dim : config.hidden_size / all_heads;
  config.head_dim = static_cast<int32_t>(fields.integer_or("head_dim", head_dim, {2, 1 << 16}));
  if (config.head_dim % 2 != 0)
    fields.refuse("head_dim", "rotary positions need an even head size, it is " +
                                  std::to_string(config.head_dim));
}

void read_common(const ConfigFields& fields, const Defaults& defaults, ModelConfig& config) {
  config.vocab_size = fields.integer("vocab_size", kSizes);
  config.hidden_size = fields.integer("hidden_size", kSizes);
  config.embedding_size = config.hidden_size;
  config.intermediate_size = fields.integer("intermediate_size", kSizes);
  config.num_hidden_layers = static_cast<int32_t>(fields.integer("num_hidden_layers", kCounts));
  config.layers.resize(static_cast<size_t>(config.num_hidden_layers));
  read_heads(fields, defaults, config);
  config.max_position_embeddings =
      fields.integer_or("max_position_embeddings", defaults.max_position_embeddings, kPositions);
  config.norm = NormKind::kRmsNorm;
  config.norm_epsilon = static_cast<float>(fields.number_or("rms_norm_eps", 1e-6));
  config.position = PositionKind::kRope;
  config.rope = read_rope_config(fields, config);
  config.mlp = MlpKind::kGated;
  config.activation = read_activation(fields, "hidden_act", "silu");
  config.tie_word_embeddings = fields.flag_or("tie_word_embeddings", false);
}

// Sets the window of every layer that `slides` says (of those that layer_types says, if it is
// there).
template <typename Slides>
void read_windows(const ConfigFields& fields, int64_t window, Slides slides, ModelConfig& config) {
  const std::vector<std::string> types = fields.texts("layer_types");
  if (!types.empty() && types.size() != config.layers.size())
    fields.refuse("layer_types", "expected one entry for each of the num_hidden_layers");
  for (size_t i = 0; i < config.layers.size(); ++i) {
    bool sliding = window > 0 && slides(static_cast<int64_t>(i));
    if (!types.empty()) {
      sliding = types[i] == "sliding_attention";
      if (!sliding && types[i] != "full_attention")
        fields.refuse("layer_types", "\"" + types[i] + "\" is not supported");
      if (sliding && window == 0)
        fields.refuse("layer_types", "\"sliding_attention\" without a sliding window");
    }
    config.layers[i].sliding_window = sliding ? static_cast<int32_t>(window) : 0;
  }
}

// 0 for an explicit null: no window.
int64_t read_window(const ConfigFields& fields) {
  if (fields.is_null("sliding_window")) return 0;
  return fields.integer_or("sliding_window", 4096, {1, INT32_MAX});
}

void parse_llama(const ConfigFields& fields, ModelConfig& config) {
  read_common(fields, {0, 0, 2048}, config);
  config.qkv_bias = config.attention_out_bias = fields.flag_or("attention_bias", false);
  config.mlp_bias = fields.flag_or("mlp_bias", false);
  read_windows(
      fields, 0, [](int64_t) { return false; }, config);
}

void parse_mistral(const ConfigFields& fields, ModelConfig& config) {
  read_common(fields, {8, 0, 4096 * 32}, config);
  const int64_t window = read_window(fields);
  read_windows(
      fields, window, [](int64_t) { return true; }, config);
  // The reference slides in all layers or none, whatever layer_types says.
  const auto slides = [](const LayerConfig& layer) { return layer.sliding_window > 0; };
  if (!std::ranges::all_of(config.layers, slides) && window > 0)
    fields.refuse("layer_types", "Mistral layers slide all or none");
}

void read_qwen_windows(const ConfigFields& fields, ModelConfig& config) {
  const bool use = fields.flag_or("use_sliding_window", false);
  const int64_t window = use ? read_window(fields) : 0;
  const int64_t first = fields.integer_or("max_window_layers", 28, {0, INT32_MAX});
  read_windows(
      fields, window, [&](int64_t layer) { return layer >= first; }, config);
}

void parse_qwen2(const ConfigFields& fields, ModelConfig& config) {
  read_common(fields, {32, 0, 32768}, config);
  config.qkv_bias = true;
  read_qwen_windows(fields, config);
}

void parse_qwen3(const ConfigFields& fields, ModelConfig& config) {
  read_common(fields, {32, 128, 32768}, config);
  config.qkv_bias = config.attention_out_bias = fields.flag_or("attention_bias", false);
  config.qk_norm = true;
  read_qwen_windows(fields, config);
}

void add_layer(const ModelConfig& config, int32_t layer, WeightSpecs& specs) {
  SpecBuilder builder(specs, layer, "model.layers." + std::to_string(layer) + ".");
  const auto bias = [](bool has, VectorRole role) {
    return has ? std::optional(role) : std::nullopt;
  };
  builder.norm(VectorRole::kAttentionNormWeight, std::nullopt, "input_layernorm",
               config.hidden_size);
  builder.linear({.role = MatrixRole::kQkv,
                  .inputs = config.hidden_size,
                  .parts = {{"self_attn.q_proj", config.query_size()},
                            {"self_attn.k_proj", config.key_value_size()},
                            {"self_attn.v_proj", config.key_value_size()}},
                  .bias = bias(config.qkv_bias, VectorRole::kQkvBias)});
  if (config.qk_norm) {
    builder.norm(VectorRole::kQueryNorm, std::nullopt, "self_attn.q_norm", config.head_dim);
    builder.norm(VectorRole::kKeyNorm, std::nullopt, "self_attn.k_norm", config.head_dim);
  }
  builder.linear({.role = MatrixRole::kAttentionOut,
                  .inputs = config.query_size(),
                  .parts = {{"self_attn.o_proj", config.hidden_size}},
                  .bias = bias(config.attention_out_bias, VectorRole::kAttentionOutBias)});
  builder.norm(VectorRole::kMlpNormWeight, std::nullopt, "post_attention_layernorm",
               config.hidden_size);
  builder.linear({.role = MatrixRole::kMlpUp,
                  .inputs = config.hidden_size,
                  .parts = {{"mlp.gate_proj", config.intermediate_size},
                            {"mlp.up_proj", config.intermediate_size}},
                  .gated = true,
                  .bias = bias(config.mlp_bias, VectorRole::kMlpUpBias)});
  builder.linear({.role = MatrixRole::kMlpDown,
                  .inputs = config.intermediate_size,
                  .parts = {{"mlp.down_proj", config.hidden_size}},
                  .bias = bias(config.mlp_bias, VectorRole::kMlpDownBias)});
}

void add_weights(const ModelConfig& config, WeightSpecs& specs) {
  SpecBuilder builder(specs, kNoLayer, "");
  builder.linear({.role = MatrixRole::kTokenEmbedding,
                  .inputs = config.hidden_size,
                  .parts = {{"model.embed_tokens", config.vocab_size}}});
  for (int32_t layer = 0; layer < config.num_hidden_layers; ++layer)
    add_layer(config, layer, specs);
  builder.norm(VectorRole::kFinalNormWeight, std::nullopt, "model.norm", config.hidden_size);
  builder.linear({.role = MatrixRole::kHead,
                  .inputs = config.hidden_size,
                  .parts = {{config.tie_word_embeddings ? "model.embed_tokens" : "lm_head",
                             config.vocab_size}}});
}

constexpr std::array<std::string_view, 1> kBarePrefixes = {""};
constexpr std::array<std::string_view, 3> kBuffers = {
    "rotary_emb.inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached"};
constexpr std::array<Architecture, 4> kArchitectures = {{
    {"llama", "LlamaForCausalLM", "LlamaModel", "model.", kBarePrefixes, kBuffers, parse_llama,
     add_weights},
    {"mistral", "MistralForCausalLM", "MistralModel", "model.", kBarePrefixes, kBuffers,
     parse_mistral, add_weights},
    {"qwen2", "Qwen2ForCausalLM", "Qwen2Model", "model.", kBarePrefixes, kBuffers, parse_qwen2,
     add_weights},
    {"qwen3", "Qwen3ForCausalLM", "Qwen3Model", "model.", kBarePrefixes, kBuffers, parse_qwen3,
     add_weights},
}};

}  // namespace

std::span<const Architecture> llama_architectures() { return kArchitectures; }

}  // namespace zerostream
