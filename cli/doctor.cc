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

void doctor(bool json) {
  const std::string cache = user_cache_folder();
  std::error_code ignored;
  std::filesystem::create_directories(cache, ignored);
  const auto findings = examine_machine({std::filesystem::current_path().string(), cache});
  if (json) {
    std::cout << findings_json(findings).dump(2) << "\n";
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
  command->callback([=, &exit_code] {
    doctor(*json);
    exit_code = 0;
  });
}

}  // namespace zerostream
