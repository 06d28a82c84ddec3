// Writing down the weights of an architecture.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/weights.h"

namespace zerostream {

// A linear module of the checkpoint: `rows` outputs in NAME.weight and, if there is one, NAME.bias.
struct LinearPart {
  std::string_view name;
  int64_t rows = 0;
};

// A matrix made of one or more modules, and its bias.
struct LinearSpec {
  MatrixRole role = MatrixRole::kQkv;
  int64_t inputs = 0;
  std::vector<LinearPart> parts;
  bool transposed = false;
  bool gated = false;
  std::optional<VectorRole> bias = std::nullopt;
};

// Appends to a WeightSpecs the weights of one layer (or of none), whose names begin with `prefix`.
class SpecBuilder {
 public:
  SpecBuilder(WeightSpecs& specs, int32_t layer, std::string prefix);

  void linear(const LinearSpec& linear);
  void vector(VectorRole role, std::string_view name, int64_t size);  // full name after the prefix
  // NAME.weight and, with a role for it, NAME.bias.
  void norm(VectorRole weight, std::optional<VectorRole> bias, std::string_view name, int64_t size);

 private:
  WeightSpecs& specs_;
  int32_t layer_;
  std::string prefix_;
};

}  // namespace zerostream
