#include "model/architectures/spec_builder.h"

#include <utility>

namespace zerostream {

SpecBuilder::SpecBuilder(WeightSpecs& specs, int32_t layer, std::string prefix)
    : specs_(specs), layer_(layer), prefix_(std::move(prefix)) {}

void SpecBuilder::linear(const LinearSpec& linear) {
  int64_t outputs = 0;
  for (const LinearPart& part : linear.parts) outputs += part.rows;
  if (linear.gated) outputs = linear.parts.front().rows;

  MatrixSpec matrix = {linear.role, layer_, outputs, linear.inputs, linear.gated, {}};
  for (const LinearPart& part : linear.parts)
    matrix.sources.push_back(
        {prefix_ + std::string(part.name) + ".weight", linear.transposed, 0, part.rows});
  specs_.matrices.push_back(std::move(matrix));

  if (!linear.bias) return;
  VectorSpec bias = {*linear.bias, layer_, outputs, linear.gated, {}};
  for (const LinearPart& part : linear.parts)
    bias.sources.push_back({prefix_ + std::string(part.name) + ".bias", false, 0, part.rows});
  specs_.vectors.push_back(std::move(bias));
}

void SpecBuilder::vector(VectorRole role, std::string_view name, int64_t size) {
  specs_.vectors.push_back(
      {role, layer_, size, false, {{prefix_ + std::string(name), false, 0, size}}});
}

void SpecBuilder::norm(VectorRole weight, std::optional<VectorRole> bias, std::string_view name,
                       int64_t size) {
  vector(weight, std::string(name) + ".weight", size);
  if (bias) vector(*bias, std::string(name) + ".bias", size);
}

}  // namespace zerostream
