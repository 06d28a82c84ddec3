// The commands of `zerostream`. Each adds itself to the command line; when it was asked for, its
// body runs and sets the exit code.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace zerostream {

void add_run(CLI::App& app, int& exit_code);
void add_score(CLI::App& app, int& exit_code);
void add_pack(CLI::App& app, int& exit_code);
void add_info(CLI::App& app, int& exit_code);
void add_tokenize(CLI::App& app, int& exit_code);
void add_doctor(CLI::App& app, int& exit_code);
void add_clean(CLI::App& app, int& exit_code);
void add_probe(CLI::App& app, int& exit_code);
void add_plan(CLI::App& app, int& exit_code);
void add_simulate(CLI::App& app, int& exit_code);
void add_report(CLI::App& app, int& exit_code);
void add_selftest(CLI::App& app, int& exit_code);
void add_help(CLI::App& app, int& exit_code);

// Throws UsageError: there is no such command, but maybe one with a similar name.
[[noreturn]] void refuse_command(const CLI::App& app, const std::string& name);

}  // namespace zerostream
