// What a model is: the numbers and kinds that drive its layers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/kernels.h"
#include "model/json.h"

namespace zerostream {

enum class NormPlace : uint8_t { kPre, kPost };
enum class PositionKind : uint8_t { kLearned, kRope, kAlibi };
enum class MlpKind : uint8_t { kPlain, kGated };

// Frequencies of rotary positions, computed once from rope_theta, rope_scaling and the rotary
// dimension.
struct RopeConfig {
  RopeKind kind = RopeKind::kNone;
  std::vector<float> inverse_frequencies;  // [rotary dimension / 2], scaling applied
  float attention_factor = 1.0f;           // multiplies cos and sin (yarn)
};

// What may differ from layer to layer.
struct LayerConfig {
  int32_t sliding_window = 0;  // positions that a query sees, its own counted; 0: all
};

// Field names follow config.json. Every field of a supported architecture's config.json that
// changes the result is read or refused by name; none is ignored.
struct ModelConfig {
  std::string model_type;  // as in config.json: "llama", "gpt2", "opt", ...
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int32_t num_hidden_layers = 0;
  int32_t num_attention_heads = 0;
  int32_t num_key_value_heads = 0;
  int32_t head_dim = 0;
  int64_t max_position_embeddings = 0;
  std::vector<LayerConfig> layers;  // [num_hidden_layers]

  NormKind norm = NormKind::kRmsNorm;
  NormPlace norm_place = NormPlace::kPre;
  float norm_epsilon = 1e-5f;
  bool final_norm = true;
  bool qk_norm = false;  // RMS norm of every query and key head before the rotation

  PositionKind position = PositionKind::kRope;
  RopeConfig rope;
  int64_t position_offset = 0;  // added to a position to find its learned row (OPT: 2)
  int64_t embedding_size =
      0;  // width of the token embedding; projected when it is not hidden_size (OPT-350m)

  MlpKind mlp = MlpKind::kGated;
  Activation activation = Activation::kSilu;
  bool tie_word_embeddings = false;

  bool qkv_bias = false;
  bool attention_out_bias = false;
  bool mlp_bias = false;
  bool norm_affine = true;  // norms have weights (and LayerNorms biases)

  std::vector<int32_t> bos_token_ids;
  std::vector<int32_t>
      eos_token_ids;  // of config.json; generation_config.json and the tokenizer add theirs

  float attention_scale() const;  // 1 / sqrt(head_dim)
  int64_t query_size() const { return int64_t{num_attention_heads} * head_dim; }
  int64_t key_value_size() const { return int64_t{num_key_value_heads} * head_dim; }
  int64_t qkv_size() const { return query_size() + 2 * key_value_size(); }
};

// Reads config.json of a Hugging Face model. `source` names the file in errors. Absent fields have
// the values that transformers gives them; those that give the model its shape must be there.
// Throws CheckpointError naming the field: an architecture that is not supported, a field that is
// missing, out of range, or has a value that is not supported. Fields that the architecture's
// reference implementation does not read are accepted, except those that change the result of other
// architectures (config.cc lists them): these are refused unless they are at their neutral value.
ModelConfig parse_model_config(const Json& config, const std::string& source);

}  // namespace zerostream
