// The keys of the run file: which there are, and what each sets.
#pragma once

#include <string>

#include "model/json.h"
#include "offload/run_config.h"

namespace zerostream {

// One value of one key, from a file or a flag.
struct ConfigSetting {
  std::string key;  // "section.key"
  Json value;
  std::string origin;  // "run.yaml:7" or "--set section.key": begins messages
  std::string folder;  // what relative paths in the value are relative to; empty: working folder
};

bool is_config_section(const std::string& name);

// Sets the member of `config` that the key stands for. Throws UsageError: origin, key, what is
// wrong.
void apply_setting(const ConfigSetting& setting, RunConfig& config);

// Throws UsageError for a section that does not exist.
[[noreturn]] void refuse_section(const std::string& name, const std::string& origin);

}  // namespace zerostream
