#include "offload/probe.h"

#include <filesystem>
#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "offload/backend.h"
#include "offload/cache_folder.h"
#include "offload/store_files.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

struct ProbeFlags {
  std::string directory;  // empty: the cache folder
  std::string output;     // empty: stdout
};

void probe(const ProbeFlags& flags) {
  ProbeOptions options;
  options.folder = flags.directory;
  if (options.folder.empty()) {
    options.folder = user_cache_folder();
    make_folder(options.folder);
  }
  if (!std::filesystem::is_directory(options.folder))
    throw UsageError("--directory " + options.folder + ": there is no such folder");
  options.progress = [](const std::string& what) {
    std::cerr << "zerostream: measuring: " << what << "\n";
  };
  const Backend backend = make_backend({}, 1);
  const HardwareProfile profile = probe_hardware(*backend.device, *backend.kernels, options);
  std::cerr << probe_table(profile);
  if (flags.output.empty()) {
    std::cout << hardware_profile_text(profile);
  } else {
    write_text_file(flags.output, hardware_profile_text(profile));
  }
}

}  // namespace

void add_probe(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<ProbeFlags>();
  CLI::App* command =
      app.add_subcommand("probe", "Measures this machine's disk, memory and arithmetic");
  command->add_option("--directory", flags->directory,
                      "Folder on the disk to measure (default: the cache folder)");
  command->add_option("-o,--output", flags->output, "Profile to write (default: stdout)");
  command->callback([=, &exit_code] {
    probe(*flags);
    exit_code = 0;
  });
}

}  // namespace zerostream
