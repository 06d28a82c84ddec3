// Small checkpoints with random weights, and what a store of one must hold.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "model/json.h"
#include "model/weights.h"
#include "offload/packed_store.h"

namespace zerostream {

struct RandomTensor {
  std::vector<int64_t> shape;
  std::vector<float> values;
};

// Tensors by name. Change them, then write().
struct RandomCheckpoint {
  Json config;
  WeightSpecs specs;
  std::map<std::string, RandomTensor> tensors;

  // Writes config.json and model.safetensors (fp32) into a folder, which is made.
  void write(const std::string& folder) const;
  // Number `input` of output `output` of a matrix (gated: of source `half`).
  float value(const MatrixSpec& spec, int64_t output, int64_t input, size_t half = 0) const;
  // Element of a vector; of a gated one, of source `half`.
  float value(const VectorSpec& spec, int64_t index, size_t half = 0) const;
};

RandomCheckpoint make_random_checkpoint(const Json& config, uint32_t seed = 1);

// Configs with sizes that are no multiples of anything.
Json odd_llama_config();  // gated MLP, grouped queries, untied head
Json odd_gpt2_config();   // transposed sources, biases, learned positions, tied head

// A number of a quantised run as it is stored: scale * (code - zero).
struct StoredCode {
  float scale = 0;
  int code = 0, zero = 0;

  float value() const { return scale * static_cast<float>(code - zero); }
};

// Number `input` of stored output `output` of a quantised run; `input` may be padding: then the
// scale is 0 if no group covers it.
StoredCode stored_code(const StoredMatrix& run, const std::byte* segment, int64_t output,
                       int64_t input);

// Number `input` of stored output `output` (gated runs: padding and halves counted) of a run whose
// segment lies at `segment`, read by the words of docs/store-format.md.
float stored_value(const StoredMatrix& run, const std::byte* segment, int64_t output,
                   int64_t input);

}  // namespace zerostream
