#include "model/config.h"
#include "model/weights.h"
#include "offload/sampling_settings.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/fuzz_targets.h"

namespace zerostream {

void fuzz_model_config(std::string_view input) {
  const std::vector<std::string> parts = split_parts(input, 2);
  if (!parts[1].empty()) {
    const Json generation = parse_json(parts[1], "generation_config.json");
    std::vector<std::string> ignored;
    if (generation.is_object()) generation_config_sampling(generation, "fuzz", &ignored);
  }
  const ModelConfig config = parse_model_config(parse_json(parts[0], "config.json"), "config.json");
  expect(weight_specs(config).matrices.size() >= 4u * config.layers.size(),
         "every layer has its matrices");
  config.attention_scale();
}

}  // namespace zerostream
