#include "offload/manifest.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/fuzz_targets.h"

namespace zerostream {

void fuzz_manifest(std::string_view input) {
  const std::vector<std::string> parts = split_parts(input, 2);
  const Manifest manifest = manifest_from_json(parse_json(parts[1], "fuzz"), "fuzz");
  const Json json = manifest_to_json(manifest);
  expect(manifest_to_json(manifest_from_json(json, "fuzz")) == json, "a manifest reads back");
  const ModelConfig config = parse_model_config(parse_json(parts[0], "config.json"), "config.json");
  check_contents(manifest, weight_specs(config), "fuzz");
}

}  // namespace zerostream
