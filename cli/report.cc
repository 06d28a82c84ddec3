#include <filesystem>
#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "offload/report_page.h"
#include "offload/store_files.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

struct ReportFlags {
  std::string report, page;
};

void report(const ReportFlags& flags) {
  std::error_code missing;
  if (std::filesystem::equivalent(flags.report, flags.page, missing))
    throw UsageError("--output: " + flags.page + " is the report itself");
  File::open(flags.report, {});  // throws IoError where there is none
  const std::string text = read_text_file(flags.report);
  Json json;
  try {
    json = parse_json(text, flags.report);
  } catch (const CheckpointError& error) {
    throw UsageError(std::string(error.what()) + ": no report of zerostream run");
  }
  const std::string page = report_page(json, flags.report);
  if (flags.page == "-")
    std::cout << page;
  else
    write_text_file(flags.page, page);
}

}  // namespace

void add_report(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<ReportFlags>();
  CLI::App* command = app.add_subcommand("report", "Makes a page to look at from a run's report");
  command->add_option("REPORT", flags->report, "Report of a run (JSON)")->required();
  command->add_option("-o,--output", flags->page, "The page (HTML), - for stdout")->required();
  command->callback([=, &exit_code] {
    report(*flags);
    exit_code = 0;
  });
}

}  // namespace zerostream
