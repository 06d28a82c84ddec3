// Which weights a model has, and how each is put together from the tensors of a checkpoint.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"

namespace zerostream {

// Matrices, in the order in which a pass uses them.
enum class MatrixRole : uint8_t {
  kTokenEmbedding,     // [vocab_size, embedding_size], read by row
  kPositionEmbedding,  // [max_position_embeddings + position_offset, hidden_size], read by row
  kProjectIn,          // [hidden_size, embedding_size]
  kQkv,                // [qkv_size, hidden_size]: q heads, k heads, v heads
  kAttentionOut,       // [hidden_size, query_size]
  kMlpUp,    // [intermediate_size, hidden_size]; gated: 64 gate and 64 up outputs in turn, padded
             // (kGated)
  kMlpDown,  // [hidden_size, intermediate_size]
  kProjectOut,  // [embedding_size, hidden_size]
  kHead,        // [vocab_size, embedding_size]; a tied head is the token embedding again
};

// Vectors, kept in fp32 and always resident.
enum class VectorRole : uint8_t {
  kAttentionNormWeight,  // before attention (pre-norm) or after its residual (post-norm)
  kAttentionNormBias,
  kQueryNorm,
  kKeyNorm,
  kQkvBias,
  kAttentionOutBias,
  kMlpNormWeight,
  kMlpNormBias,
  kMlpUpBias,  // gated: 64 gate, 64 up in turn, padded
  kMlpDownBias,
  kFinalNormWeight,
  kFinalNormBias,
  kHeadBias,
};

// Names as they stand in a store's manifest: "token_embedding", "qkv", ...
std::string_view matrix_role_name(MatrixRole role);
std::string_view vector_role_name(VectorRole role);

// A tensor of the checkpoint that gives `rows` outputs of a matrix (or elements of a vector): those
// from the tensor's own output `row_begin` on. `transposed`: the tensor is [inputs, outputs]
// (GPT-2). An empty name stands for zeros.
struct SourceTensor {
  std::string name;
  bool transposed = false;
  int64_t row_begin = 0;
  int64_t rows = 0;
};

inline constexpr int32_t kNoLayer = -1;

// A matrix: its sources' outputs one below the other. gated: there are two sources, gate and up,
// that alternate by 64.
struct MatrixSpec {
  MatrixRole role = MatrixRole::kQkv;
  int32_t layer = kNoLayer;
  int64_t outputs = 0;  // without padding; for gated: of one source
  int64_t inputs = 0;
  bool gated = false;
  std::vector<SourceTensor> sources;
};

struct VectorSpec {
  VectorRole role = VectorRole::kQkvBias;
  int32_t layer = kNoLayer;
  int64_t size = 0;  // without padding; for gated: of one source
  bool gated = false;
  std::vector<SourceTensor> sources;
};

// All weights of a model, in the order of a pass.
struct WeightSpecs {
  std::vector<MatrixSpec> matrices;
  std::vector<VectorSpec> vectors;
};

// The names are those of the Hugging Face implementation; `Checkpoint` presents every format under
// them.
WeightSpecs weight_specs(const ModelConfig& config);

// Makes the names of a checkpoint's tensors those of weight_specs(): a checkpoint of the bare model
// lacks the prefix ("h.0..." for "transformer.h.0..."). Names become empty for tensors that hold no
// weights (causal masks, rotary frequencies). Unknown model types leave all as they are.
void canonicalise_tensor_names(std::string_view model_type, std::vector<std::string>& names);

}  // namespace zerostream
