// OPT, with norms before the blocks (125m, 1.3b and up) or after them (350m).
#include <array>
#include <optional>
#include <string>

#include "model/architectures/architecture.h"
#include "model/architectures/spec_builder.h"

namespace zerostream {
namespace {

void parse(const ConfigFields& fields, ModelConfig& config) {
  config.vocab_size = fields.integer("vocab_size", kSizes);
  config.hidden_size = fields.integer("hidden_size", kSizes);
  config.embedding_size = fields.integer_or("word_embed_proj_dim", config.hidden_size, kSizes);
  config.intermediate_size = fields.integer("ffn_dim", kSizes);
  config.num_hidden_layers = static_cast<int32_t>(fields.integer("num_hidden_layers", kCounts));
  config.layers.resize(static_cast<size_t>(config.num_hidden_layers));
  config.num_attention_heads = static_cast<int32_t>(fields.integer("num_attention_heads", kCounts));
  config.num_key_value_heads = config.num_attention_heads;
  if (config.hidden_size % config.num_attention_heads != 0)
    fields.refuse("hidden_size", "not a multiple of num_attention_heads");
  config.head_dim = static_cast<int32_t>(config.hidden_size / config.num_attention_heads);
  config.max_position_embeddings = fields.integer_or("max_position_embeddings", 2048, kPositions);

  const bool before = fields.flag_or("do_layer_norm_before", true);
  config.norm = NormKind::kLayerNorm;
  config.norm_place = before ? NormPlace::kPre : NormPlace::kPost;
  config.norm_epsilon = 1e-5f;
  config.norm_affine = fields.flag_or("layer_norm_elementwise_affine", true);
  config.final_norm = before && !fields.flag_or("_remove_final_layer_norm", false);
  config.position = PositionKind::kLearned;
  config.position_offset = 2;
  config.mlp = MlpKind::kPlain;
  config.activation = read_activation(fields, "activation_function", "relu");
  config.qkv_bias = config.attention_out_bias = config.mlp_bias =
      fields.flag_or("enable_bias", true);
  config.tie_word_embeddings = fields.flag_or("tie_word_embeddings", true);
}

void add_norm(const ModelConfig& config, VectorRole weight, VectorRole bias, std::string_view name,
              SpecBuilder& builder) {
  if (config.norm_affine) builder.norm(weight, bias, name, config.hidden_size);
}

void add_layer(const ModelConfig& config, int32_t layer, WeightSpecs& specs) {
  SpecBuilder builder(specs, layer, "model.decoder.layers." + std::to_string(layer) + ".");
  const auto bias = [&](VectorRole role) {
    return config.qkv_bias ? std::optional(role) : std::nullopt;
  };
  add_norm(config, VectorRole::kAttentionNormWeight, VectorRole::kAttentionNormBias,
           "self_attn_layer_norm", builder);
  builder.linear({.role = MatrixRole::kQkv,
                  .inputs = config.hidden_size,
                  .parts = {{"self_attn.q_proj", config.query_size()},
                            {"self_attn.k_proj", config.key_value_size()},
                            {"self_attn.v_proj", config.key_value_size()}},
                  .bias = bias(VectorRole::kQkvBias)});
  builder.linear({.role = MatrixRole::kAttentionOut,
                  .inputs = config.query_size(),
                  .parts = {{"self_attn.out_proj", config.hidden_size}},
                  .bias = bias(VectorRole::kAttentionOutBias)});
  add_norm(config, VectorRole::kMlpNormWeight, VectorRole::kMlpNormBias, "final_layer_norm",
           builder);
  builder.linear({.role = MatrixRole::kMlpUp,
                  .inputs = config.hidden_size,
                  .parts = {{"fc1", config.intermediate_size}},
                  .bias = bias(VectorRole::kMlpUpBias)});
  builder.linear({.role = MatrixRole::kMlpDown,
                  .inputs = config.intermediate_size,
                  .parts = {{"fc2", config.hidden_size}},
                  .bias = bias(VectorRole::kMlpDownBias)});
}

void add_weights(const ModelConfig& config, WeightSpecs& specs) {
  SpecBuilder builder(specs, kNoLayer, "");
  const auto linear = [&](MatrixRole role, const LinearPart& part, int64_t inputs) {
    builder.linear({.role = role, .inputs = inputs, .parts = {part}});
  };
  const bool projects = config.embedding_size != config.hidden_size;
  const LinearPart embedding = {"model.decoder.embed_tokens", config.vocab_size};
  linear(MatrixRole::kTokenEmbedding, embedding, config.embedding_size);
  linear(MatrixRole::kPositionEmbedding,
         {"model.decoder.embed_positions", config.max_position_embeddings + config.position_offset},
         config.hidden_size);
  if (projects)
    linear(MatrixRole::kProjectIn, {"model.decoder.project_in", config.hidden_size},
           config.embedding_size);
  for (int32_t layer = 0; layer < config.num_hidden_layers; ++layer)
    add_layer(config, layer, specs);
  if (config.final_norm)
    add_norm(config, VectorRole::kFinalNormWeight, VectorRole::kFinalNormBias,
             "model.decoder.final_layer_norm", builder);
  if (projects)
    linear(MatrixRole::kProjectOut, {"model.decoder.project_out", config.embedding_size},
           config.hidden_size);
  linear(MatrixRole::kHead,
         config.tie_word_embeddings ? embedding : LinearPart{"lm_head", config.vocab_size},
         config.embedding_size);
}

constexpr std::array<std::string_view, 3> kBarePrefixes = {"decoder.", "model.", ""};
constexpr std::array<std::string_view, 1> kBuffers = {"decoder.version"};
constexpr std::array<Architecture, 1> kArchitectures = {
    {{"opt", "OPTForCausalLM", "OPTModel", "model.decoder.", kBarePrefixes, kBuffers, parse,
      add_weights}}};

}  // namespace

std::span<const Architecture> opt_architectures() { return kArchitectures; }

}  // namespace zerostream
