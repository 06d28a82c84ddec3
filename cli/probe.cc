#include "offload/probe.h"

#include <filesystem>
#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "cli/device_flags.h"
#include "offload/backend.h"
#include "offload/cache_folder.h"
#include "offload/store_files.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

struct ProbeFlags {
  DeviceFlags device;
  std::string directory;  // empty: the cache folder
  std::string output;     // empty: stdout
  bool quick = false;
};

std::string folder_to_measure(const ProbeFlags& flags) {
  if (!flags.directory.empty() && !std::filesystem::is_directory(flags.directory))
    throw UsageError("--directory " + flags.directory + ": there is no such folder");
  if (!flags.directory.empty()) return flags.directory;
  make_folder(user_cache_folder());
  return user_cache_folder();
}

HardwareProfile measure(const ProbeFlags& flags) {
  const std::string folder = folder_to_measure(flags);
  const Backend backend = make_backend(flags.device.config(), kLargestLimits);
  if (flags.quick) return quick_profile(backend, {.path = folder});
  const auto progress = [](const std::string& what) {
    std::cerr << "zerostream: measuring: " << what << "\n";
  };
  return probe_hardware(backend, {.folder = folder, .progress = progress});
}

void probe(const ProbeFlags& flags) {
  const HardwareProfile profile = measure(flags);
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
      app.add_subcommand("probe", "Measures this machine's disk, memory, links and arithmetic");
  add_device_flags(*command, flags->device);
  command->add_option("--directory", flags->directory,
                      "Folder on the disk to measure (default: the cache folder)");
  command->add_option("-o,--output", flags->output, "Profile to write (default: stdout)");
  command->add_flag("--quick", flags->quick, "Few figures, in a second or two");
  command->callback([=, &exit_code] {
    probe(*flags);
    exit_code = 0;
  });
}

}  // namespace zerostream
