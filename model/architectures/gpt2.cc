// GPT-2.
#include <array>
#include <string>

#include "model/architectures/architecture.h"
#include "model/architectures/spec_builder.h"

namespace zerostream {
namespace {

void parse(const ConfigFields& fields, ModelConfig& config) {
  const auto hidden = fields.spelling({"n_embd", "hidden_size"});
  const auto layers = fields.spelling({"n_layer", "num_hidden_layers"});
  const auto heads = fields.spelling({"n_head", "num_attention_heads"});
  const auto positions = fields.spelling({"n_positions", "max_position_embeddings"});
  config.vocab_size = fields.integer("vocab_size", kSizes);
  config.hidden_size = config.embedding_size = fields.integer(hidden, kSizes);
  config.intermediate_size = fields.integer_or("n_inner", 4 * config.hidden_size, kSizes);
  config.num_hidden_layers = static_cast<int32_t>(fields.integer(layers, kCounts));
  config.layers.resize(static_cast<size_t>(config.num_hidden_layers));
  config.num_attention_heads = static_cast<int32_t>(fields.integer(heads, kCounts));
  config.num_key_value_heads = config.num_attention_heads;
  if (config.hidden_size % config.num_attention_heads != 0)
    fields.refuse(hidden, "not a multiple of the number of heads");
  config.head_dim = static_cast<int32_t>(config.hidden_size / config.num_attention_heads);
  config.max_position_embeddings = fields.integer_or(positions, 1024, kPositions);

  config.norm = NormKind::kLayerNorm;
  config.norm_epsilon = static_cast<float>(fields.number_or("layer_norm_epsilon", 1e-5));
  config.position = PositionKind::kLearned;
  config.mlp = MlpKind::kPlain;
  config.activation = read_activation(fields, "activation_function", "gelu_new");
  config.qkv_bias = config.attention_out_bias = config.mlp_bias = true;
  config.tie_word_embeddings = fields.flag_or("tie_word_embeddings", true);
  if (!fields.flag_or("scale_attn_weights", true))
    fields.refuse("scale_attn_weights", "unscaled attention is not supported");
  if (fields.flag_or("scale_attn_by_inverse_layer_idx", false))
    fields.refuse("scale_attn_by_inverse_layer_idx", "not supported");
}

void add_layer(const ModelConfig& config, int32_t layer, WeightSpecs& specs) {
  SpecBuilder builder(specs, layer, "transformer.h." + std::to_string(layer) + ".");
  const auto linear = [&](MatrixRole role, VectorRole bias, const LinearPart& part,
                          int64_t inputs) {
    builder.linear(
        {.role = role, .inputs = inputs, .parts = {part}, .transposed = true, .bias = bias});
  };
  builder.norm(VectorRole::kAttentionNormWeight, VectorRole::kAttentionNormBias, "ln_1",
               config.hidden_size);
  linear(MatrixRole::kQkv, VectorRole::kQkvBias, {"attn.c_attn", config.qkv_size()},
         config.hidden_size);
  linear(MatrixRole::kAttentionOut, VectorRole::kAttentionOutBias,
         {"attn.c_proj", config.hidden_size}, config.query_size());
  builder.norm(VectorRole::kMlpNormWeight, VectorRole::kMlpNormBias, "ln_2", config.hidden_size);
  linear(MatrixRole::kMlpUp, VectorRole::kMlpUpBias, {"mlp.c_fc", config.intermediate_size},
         config.hidden_size);
  linear(MatrixRole::kMlpDown, VectorRole::kMlpDownBias, {"mlp.c_proj", config.hidden_size},
         config.intermediate_size);
}

void add_weights(const ModelConfig& config, WeightSpecs& specs) {
  SpecBuilder builder(specs, kNoLayer, "");
  builder.linear({.role = MatrixRole::kTokenEmbedding,
                  .inputs = config.hidden_size,
                  .parts = {{"transformer.wte", config.vocab_size}}});
  builder.linear({.role = MatrixRole::kPositionEmbedding,
                  .inputs = config.hidden_size,
                  .parts = {{"transformer.wpe", config.max_position_embeddings}}});
  for (int32_t layer = 0; layer < config.num_hidden_layers; ++layer)
    add_layer(config, layer, specs);
  builder.norm(VectorRole::kFinalNormWeight, VectorRole::kFinalNormBias, "transformer.ln_f",
               config.hidden_size);
  builder.linear(
      {.role = MatrixRole::kHead,
       .inputs = config.hidden_size,
       .parts = {{config.tie_word_embeddings ? "transformer.wte" : "lm_head", config.vocab_size}}});
}

// Causal masks: transformer.h.0.attn.bias, not the biases of linear modules.
constexpr std::array<std::string_view, 2> kBuffers = {".attn.bias", ".attn.masked_bias"};
constexpr std::array<std::string_view, 1> kBarePrefixes = {""};
constexpr std::array<Architecture, 1> kArchitectures = {
    {{"gpt2", "GPT2LMHeadModel", "GPT2Model", "transformer.", kBarePrefixes, kBuffers, parse,
      add_weights}}};

}  // namespace

std::span<const Architecture> gpt2_architectures() { return kArchitectures; }

}  // namespace zerostream
