#include "offload/selftest.h"

#include <filesystem>
#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "cli/device_flags.h"
#include "offload/cache_folder.h"
#include "offload/store_files.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int64_t kLargestVocabulary = 32000;  // of the cases

struct SelftestFlags {
  DeviceFlags device;
  std::string directory;
  bool json = false;
};

int selftest(const SelftestFlags& flags) {
  if (!flags.directory.empty() && !std::filesystem::is_directory(flags.directory))
    throw UsageError("--directory " + flags.directory + ": there is no such folder");
  if (flags.directory.empty()) make_folder(user_cache_folder());
  KernelLimits limits = kLargestLimits;
  limits.max_vocabulary = kLargestVocabulary;
  const Backend subject = make_backend(flags.device.config(), limits);
  const SelftestResult result =
      run_selftest(subject, make_reference_backend(),
                   {.folder = flags.directory.empty() ? user_cache_folder() : flags.directory,
                    .progress = [](const std::string& what) {
                      std::cerr << "zerostream: testing: " << what << "\n";
                    }});
  if (flags.json)
    std::cout << json_text(selftest_json(result), 2) << "\n";
  else
    std::cout << selftest_text(result);
  return result.passed() ? 0 : static_cast<int>(ErrorCode::kDevice);
}

}  // namespace

void add_selftest(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<SelftestFlags>();
  CLI::App* command = app.add_subcommand(
      "selftest", "Compares every kernel of a device with plain loops, and measures it");
  add_device_flags(*command, flags->device);
  command->add_option("--directory", flags->directory,
                      "Folder on the disk to read from (default: the cache folder)");
  command->add_flag("--json", flags->json, "As JSON");
  command->callback([=, &exit_code] { exit_code = selftest(*flags); });
}

}  // namespace zerostream
