#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/console.h"
#include "cli/signals.h"
#include "offload/batch_job.h"
#include "offload/cache_folder.h"
#include "offload/report.h"

namespace zerostream {
namespace {

constexpr int kSomeRowsFailed = 7;
constexpr int kSignalExit = 128;

// A short cut for a key.
struct ShortCut {
  const char* flag;
  const char* key;
  const char* help;
  bool literal;
  bool scores = true;  // `score` has it, too
};
constexpr ShortCut kShortCuts[] = {
    {"--model", "model.path", "model.path: Hugging Face folder, GGUF file or packed store", true},
    {"--input", "job.input", "job.input: file of rows, - for stdin", true},
    {"--output", "job.output", "job.output: file for results, - for stdout", true},
    {"--max-new-tokens", "sampling.max_new_tokens", "sampling.max_new_tokens", false, false}};

struct RunOptions {
  std::string config;
  std::vector<std::string> sets;
  std::string short_cuts[std::size(kShortCuts)];
  bool quiet = false;
  std::string level = "info";
};

constexpr std::pair<const char*, LogLevel> kLevels[] = {{"error", LogLevel::kError},
                                                        {"warn", LogLevel::kWarn},
                                                        {"info", LogLevel::kInfo},
                                                        {"debug", LogLevel::kDebug}};

std::vector<std::string> level_names() {
  std::vector<std::string> names;
  for (const auto& [name, level] : kLevels) names.emplace_back(name);
  return names;
}

LogLevel wanted_level(const RunOptions& options) {
  const auto* found = std::find_if(std::begin(kLevels), std::end(kLevels),
                                   [&](const auto& level) { return level.first == options.level; });
  return options.quiet ? std::min(found->second, LogLevel::kWarn) : found->second;
}

std::vector<ConfigOverride> overrides(const RunOptions& options, const CLI::App& command) {
  std::vector<ConfigOverride> overrides;
  for (const std::string& set : options.sets) overrides.push_back(parse_override(set));
  for (size_t i = 0; i < std::size(kShortCuts); ++i)
    if (command.get_option_no_throw(kShortCuts[i].flag) != nullptr &&
        command.count(kShortCuts[i].flag) > 0)
      overrides.push_back({.key = kShortCuts[i].key,
                           .value = options.short_cuts[i],
                           .flag = kShortCuts[i].flag,
                           .literal = kShortCuts[i].literal});
  return overrides;
}

int run(const RunOptions& options, Purpose purpose, const CLI::App& command) {
  const std::atomic<bool>& stop = catch_signals();
  const RunConfig config = load_run_config(options.config, overrides(options, command));
  check_job(config);
  Console console({.level = wanted_level(options), .progress = !options.quiet});
  const JobEvents events{
      .note = [&](const std::string& line) { console.log(LogLevel::kInfo, line); },
      .warn = [&](const std::string& line) { console.log(LogLevel::kWarn, line); },
      .packing = [&](int64_t done, int64_t total) { console.show_packing(done, total); },
      .progress = [&](const JobProgress& progress) { console.show(progress); }};
  const JobResult result = run_batch_job(config, purpose, user_cache_folder(), events, stop);
  if (!result.report.is_null()) console.log(LogLevel::kInfo, summarise_report(result.report));
  if (result.stopped) {
    console.log(LogLevel::kWarn, "stopped by a signal; the same command goes on with what is left");
    return kSignalExit + caught_signal();
  }
  return result.rows_failed > 0 ? kSomeRowsFailed : 0;
}

void add_job(CLI::App* command, Purpose purpose, int& exit_code) {
  auto options = std::make_shared<RunOptions>();
  command->add_option("CONFIG", options->config, "Run file (YAML)");
  command->add_option("--set", options->sets, "A key of the run file; repeatable")
      ->type_name("SECTION.KEY=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
  for (size_t i = 0; i < std::size(kShortCuts); ++i)
    if (purpose == Purpose::kGenerate || kShortCuts[i].scores)
      command->add_option(kShortCuts[i].flag, options->short_cuts[i], kShortCuts[i].help);
  command->add_flag("--quiet", options->quiet, "Only warnings and errors");
  command->add_option("--log-level", options->level, "What is said (debug: every pass)")
      ->transform(CLI::IsMember(level_names(), CLI::ignore_case))
      ->type_name("LEVEL");
  command->callback([=, &exit_code] { exit_code = run(*options, purpose, *command); });
}

}  // namespace

void add_run(CLI::App& app, int& exit_code) {
  add_job(app.add_subcommand("run", "Reads rows, generates, writes rows and a report"),
          Purpose::kGenerate, exit_code);
}

void add_score(CLI::App& app, int& exit_code) {
  add_job(app.add_subcommand("score", "Reads rows, writes how probable each of their tokens is"),
          Purpose::kScore, exit_code);
}

}  // namespace zerostream
