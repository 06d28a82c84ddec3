#include "model/architectures/architecture.h"

#include <array>
#include <string>
#include <utility>

namespace zerostream {
namespace {

std::array<std::span<const Architecture>, 3> families() {
  return {gpt2_architectures(), llama_architectures(), opt_architectures()};
}

}  // namespace

const Architecture* find_architecture(std::string_view model_type) {
  for (const auto family : families())
    for (const Architecture& architecture : family)
      if (architecture.model_type == model_type) return &architecture;
  return nullptr;
}

std::string supported_model_types() {
  std::string names;
  for (const auto family : families())
    for (const Architecture& architecture : family)
      names += (names.empty() ? "" : ", ") + std::string(architecture.model_type);
  return names;
}

Activation read_activation(const ConfigFields& fields, std::string_view key,
                           std::string_view fallback) {
  constexpr std::array<std::pair<std::string_view, Activation>, 10> kNames = {{
      {"relu", Activation::kRelu},
      {"gelu", Activation::kGelu},
      {"gelu_python", Activation::kGelu},
      {"gelu_new", Activation::kGeluTanh},
      {"gelu_fast", Activation::kGeluTanh},
      {"gelu_accurate", Activation::kGeluTanh},
      {"gelu_pytorch_tanh", Activation::kGeluTanh},
      {"gelu_python_tanh", Activation::kGeluTanh},
      {"silu", Activation::kSilu},
      {"swish", Activation::kSilu},
  }};
  const std::string text = fields.text_or(key, fallback);
  for (const auto& [name, activation] : kNames)
    if (name == text) return activation;
  fields.refuse(key, "activation is not supported");
}

}  // namespace zerostream
