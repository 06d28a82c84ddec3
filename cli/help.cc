#include <iostream>
#include <memory>
#include <string_view>
#include <vector>

#include "cli/commands.h"
#include "offload/nearest_name.h"
#include "zerostream/error.h"

namespace zerostream {

void refuse_command(const CLI::App& app, const std::string& name) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  const std::vector<std::string_view> known(names.begin(), names.end());
  throw UsageError("there is no command \"" + name + "\"" + suggest_name(name, known));
}

void add_help(CLI::App& app, int& exit_code) {
  auto name = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("help", "Says how a command is used");
  command->add_option("COMMAND", *name, "Command; none: all of them");
  command->callback([=, &app, &exit_code] {
    const auto found =
        app.get_subcommands([&](const CLI::App* known) { return known->get_name() == *name; });
    if (found.empty() && !name->empty()) refuse_command(app, *name);
    const CLI::App& about = found.empty() ? app : *found.front();
    std::cout << app.get_formatter()->make_help(&about, about.get_name(),
                                                CLI::AppFormatMode::Normal);
    exit_code = 0;
  });
}

}  // namespace zerostream
