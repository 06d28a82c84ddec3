#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "cli/plan_flags.h"
#include "offload/plan_report.h"

namespace zerostream {

void add_plan(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<PlanFlags>();
  CLI::App* command = app.add_subcommand(
      "plan", "Says where the bytes of a run go, how fast it will be, and what would change that");
  add_plan_flags(*command, *flags);
  command->callback([=, &exit_code] {
    const Json plan = plan_json(plan_as_asked(*flags, true));
    std::cout << (flags->json ? json_text(plan, 2) + "\n" : plan_text(plan));
    exit_code = 0;
  });
}

}  // namespace zerostream
