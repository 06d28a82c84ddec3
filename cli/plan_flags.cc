#include "cli/plan_flags.h"

#include <iostream>

#include "cli/signals.h"
#include "offload/cache_folder.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

// The job of the flags, if they describe one.
std::optional<EqualRows> rows_of(const PlanFlags& flags) {
  if (flags.prompt_tokens == 0 && flags.new_tokens == 0 && flags.rows == 0) return std::nullopt;
  if (flags.prompt_tokens == 0)
    throw UsageError("--rows and --new-tokens need --prompt-tokens: the length of prompts");
  return EqualRows{flags.rows, flags.prompt_tokens, flags.new_tokens};
}

}  // namespace

void add_plan_flags(CLI::App& command, PlanFlags& flags) {
  command.add_option("CONFIG", flags.config, "Run file (YAML)");
  command.add_option("--set", flags.sets, "A key of the run file: section.key=value; repeatable")
      ->allow_extra_args(false);
  command.add_option("--hardware", flags.hardware, "Hardware profile (YAML)");
  command.add_option("--rows", flags.rows, "Rows of the job, instead of those of job.input")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  command.add_option("--prompt-tokens", flags.prompt_tokens, "Tokens of each prompt")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30));
  command.add_option("--new-tokens", flags.new_tokens, "Tokens that each row generates")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30));
  command.add_flag("--json", flags.json, "As JSON");
}

PlannedJob plan_as_asked(const PlanFlags& flags, bool what_ifs) {
  std::vector<ConfigOverride> overrides;
  for (const std::string& set : flags.sets) overrides.push_back(parse_override(set));
  const RunConfig config = load_run_config(flags.config, overrides);
  const PlanOptions options{
      .hardware = flags.hardware,
      .cache_folder = user_cache_folder(),
      .rows = rows_of(flags),
      .what_ifs = what_ifs,
      .note = [](const std::string& line) { std::cerr << "zerostream: " << line << "\n"; }};
  return plan_job(config, options, catch_signals());
}

}  // namespace zerostream
