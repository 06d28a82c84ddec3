#include "model/weights.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/require.h"
#include "model/architectures/architecture.h"

namespace zerostream {
namespace {

constexpr std::array<std::string_view, 9> kMatrixNames = {
    "token_embedding", "position_embedding", "project_in",  "qkv", "attention_out",
    "mlp_up",          "mlp_down",           "project_out", "head"};
constexpr std::array<std::string_view, 13> kVectorNames = {
    "attention_norm_weight", "attention_norm_bias", "query_norm",    "key_norm",    "qkv_bias",
    "attention_out_bias",    "mlp_norm_weight",     "mlp_norm_bias", "mlp_up_bias", "mlp_down_bias",
    "final_norm_weight",     "final_norm_bias",     "head_bias"};

constexpr std::string_view kHeadPrefix = "lm_head.";
// What weights and biases of norms are called in files that came from TensorFlow.
constexpr std::array<std::pair<std::string_view, std::string_view>, 2> kOldSuffixes = {
    {{".gamma", ".weight"}, {".beta", ".bias"}}};

void add_prefix(const Architecture& architecture, std::string& name) {
  for (const std::string_view prefix : architecture.bare_prefixes) {
    if (!name.starts_with(prefix)) continue;
    name.replace(0, prefix.size(), architecture.tensor_prefix);
    return;
  }
}

}  // namespace

std::string_view matrix_role_name(MatrixRole role) {
  return kMatrixNames[static_cast<size_t>(role)];
}

std::string_view vector_role_name(VectorRole role) {
  return kVectorNames[static_cast<size_t>(role)];
}

WeightSpecs weight_specs(const ModelConfig& config) {
  const Architecture* architecture = find_architecture(config.model_type);
  require(architecture != nullptr, "a parsed config has an architecture");
  WeightSpecs specs;
  architecture->add_weights(config, specs);
  return specs;
}

void canonicalise_tensor_names(std::string_view model_type, std::vector<std::string>& names) {
  const Architecture* architecture = find_architecture(model_type);
  if (architecture == nullptr) return;
  const bool bare = std::ranges::none_of(names, [&](const std::string& name) {
    return name.starts_with(architecture->tensor_prefix);
  });
  for (std::string& name : names) {
    const bool buffer = std::ranges::any_of(architecture->buffer_suffixes,
                                            [&](auto suffix) { return name.ends_with(suffix); });
    if (buffer) {
      name.clear();
      continue;
    }
    if (bare && !name.starts_with(kHeadPrefix)) add_prefix(*architecture, name);
    for (const auto& [old_suffix, suffix] : kOldSuffixes)
      if (name.ends_with(old_suffix))
        name.replace(name.size() - old_suffix.size(), old_suffix.size(), suffix);
  }
}

}  // namespace zerostream
