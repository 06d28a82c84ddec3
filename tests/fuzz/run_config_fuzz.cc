#include "offload/run_config.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/fuzz_targets.h"

namespace zerostream {

void fuzz_run_config(std::string_view input) {
  const std::vector<std::string> parts = split_parts(input, 2);
  const MemoryFile file(parts[0]);
  std::vector<ConfigOverride> overrides;
  if (!parts[1].empty()) overrides.push_back(parse_override(parts[1]));
  const RunConfig config = load_run_config(file.path(), overrides);
  run_config_json(config).dump();
  check_job(config);
}

}  // namespace zerostream
