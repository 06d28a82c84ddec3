// The `zerostream` command.
#include <filesystem>
#include <iostream>
#include <new>

#include "cli/commands.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

int fail(ErrorCode code, const std::string& message) {
  std::cerr << "zerostream: error: " << message << "\n";
  return static_cast<int>(code);
}

int parse_and_run(int argc, char** argv) {
  int exit_code = 0;
  CLI::App app("Generates text with models larger than the memory that they run in", "zerostream");
  app.set_version_flag("--version", "zerostream " ZEROSTREAM_VERSION);
  app.require_subcommand(1);
  add_run(app, exit_code);
  add_score(app, exit_code);
  add_pack(app, exit_code);
  add_info(app, exit_code);
  add_tokenize(app, exit_code);
  add_doctor(app, exit_code);
  add_clean(app, exit_code);
  add_probe(app, exit_code);
  add_plan(app, exit_code);
  add_simulate(app, exit_code);
  add_report(app, exit_code);
  add_selftest(app, exit_code);
  add_help(app, exit_code);
  const std::string first = argc > 1 ? argv[1] : "";
  const bool known =
      !app.get_subcommands([&](const CLI::App* command) { return command->get_name() == first; })
           .empty();
  if (!first.empty() && first.front() != '-' && !known) refuse_command(app, first);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& wish) {  // --help, --version
    return app.exit(wish, std::cout, std::cerr);
  } catch (const CLI::ParseError& error) {
    return fail(ErrorCode::kUsage, std::string(error.what()) + " (see zerostream help)");
  }
  return exit_code;
}

}  // namespace
}  // namespace zerostream

int main(int argc, char** argv) {
  using zerostream::ErrorCode;
  using zerostream::fail;
  try {
    return zerostream::parse_and_run(argc, argv);
  } catch (const zerostream::Error& error) {
    return fail(error.code(), error.what());
  } catch (const std::filesystem::filesystem_error& error) {
    return fail(ErrorCode::kIo, error.what());
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::kInternal, "out of memory");
  } catch (const std::exception& error) {
    return fail(ErrorCode::kInternal, error.what());
  }
}
