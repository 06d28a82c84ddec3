// What the engine knows about one kind of model: how its config.json reads and what its tensors are
// called. Adding a model that fits the vocabulary of ModelConfig is adding one of these.
#pragma once

#include <span>
#include <string_view>

#include "model/config.h"
#include "model/config_fields.h"
#include "model/weights.h"

namespace zerostream {

struct Architecture {
  std::string_view model_type;     // of config.json
  std::string_view causal_class;   // of `architectures`: with a language model head
  std::string_view base_class;     // without one
  std::string_view tensor_prefix;  // of all tensors but the head's
  // What may stand in its place in files of the bare model or of old versions; the first that fits.
  std::span<const std::string_view> bare_prefixes;
  std::span<const std::string_view> buffer_suffixes;  // tensors named so hold no weights
  void (*parse)(const ConfigFields& fields, ModelConfig& config);
  void (*add_weights)(const ModelConfig& config, WeightSpecs& specs);
};

std::span<const Architecture> gpt2_architectures();
std::span<const Architecture> llama_architectures();
std::span<const Architecture> opt_architectures();

// The one of that model_type among all of the above, null when there is none.
const Architecture* find_architecture(std::string_view model_type);
// "gpt2, llama, ...", for messages.
std::string supported_model_types();

// Limits that no real model comes near; they keep sizes computed from a config within 63 bits.
inline constexpr ConfigFields::Range kSizes = {1, int64_t{1} << 24};
inline constexpr ConfigFields::Range kCounts = {1, 10000};
inline constexpr ConfigFields::Range kPositions = {1, int64_t{1} << 31};

// The activation function that transformers knows by this name. Refuses others.
Activation read_activation(const ConfigFields& fields, std::string_view key,
                           std::string_view fallback);

}  // namespace zerostream
