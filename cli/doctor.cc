#include "offload/doctor.h"

#include <filesystem>
#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "offload/cache_folder.h"

namespace zerostream {
namespace {

std::string mark(Health health) {
  switch (health) {
    case Health::kGood:
      return "good   ";
    case Health::kSlower:
      return "slower ";
    case Health::kMissing:
      return "missing";
  }
  return {};
}

void doctor(bool json, const std::string& cuda_module) {
  const std::string cache = user_cache_folder();
  std::error_code ignored;
  std::filesystem::create_directories(cache, ignored);
  const auto findings =
      examine_machine({std::filesystem::current_path().string(), cache}, cuda_module);
  if (json) {
    std::cout << json_text(findings_json(findings), 2) << "\n";
    return;
  }
  for (const Finding& finding : findings) {
    std::cout << mark(finding.health) << "  " << finding.name << ": " << finding.what << "\n";
    if (!finding.advice.empty()) std::cout << "         -> " << finding.advice << "\n";
  }
}

}  // namespace

void add_doctor(CLI::App& app, int& exit_code) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command =
      app.add_subcommand("doctor", "Says what this machine can do, and why not and what to do");
  command->add_flag("--json", *json, "As JSON");
  auto module = std::make_shared<std::string>();
  command->add_option("--module", *module, "As device.module of a run file");
  command->callback([=, &exit_code] {
    doctor(*json, *module);
    exit_code = 0;
  });
}

}  // namespace zerostream
