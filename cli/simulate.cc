#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "cli/plan_flags.h"
#include "offload/plan_report.h"

namespace zerostream {

void add_simulate(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<PlanFlags>();
  CLI::App* command =
      app.add_subcommand("simulate", "Runs the schedule on a virtual clock of another machine");
  add_plan_flags(*command, *flags);
  command->get_option("--hardware")->required();
  command->callback([=, &exit_code] {
    const Json plan = plan_json(plan_as_asked(*flags, false));
    std::cout << (flags->json ? json_text(plan, 2) + "\n" : simulation_text(plan));
    exit_code = 0;
  });
}

}  // namespace zerostream
