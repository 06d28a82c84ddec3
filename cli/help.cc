#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "zerostream/error.h"

namespace zerostream {

void add_help(CLI::App& app, int& exit_code) {
  auto name = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("help", "Says how a command is used");
  command->add_option("COMMAND", *name, "Command; none: all of them");
  command->callback([=, &app, &exit_code] {
    const auto found =
        app.get_subcommands([&](const CLI::App* known) { return known->get_name() == *name; });
    if (found.empty() && !name->empty()) throw UsageError("there is no command \"" + *name + "\"");
    std::cout << (found.empty() ? app : *found.front()).help();
    exit_code = 0;
  });
}

void add_unavailable(CLI::App& app, int& exit_code) {
  for (const char* name : {"plan", "probe", "simulate", "score", "report", "selftest"}) {
    CLI::App* command = app.add_subcommand(name, "Not available in this version");
    command->allow_extras();
    command->callback([=, &exit_code] {
      exit_code = static_cast<int>(ErrorCode::kUsage);
      throw UsageError(std::string(name) + " is not available in this version");
    });
  }
}

}  // namespace zerostream
