#include <sys/stat.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <optional>

#include "base/digest.h"
#include "offload/probe.h"
#include "offload/store_files.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr auto kFreshFor = std::chrono::hours(24 * 30);

// What the figures depend on.
std::string profile_key(const Backend& backend, const QuickProbeOptions& options) {
  struct stat info {};
  if (stat(options.path.c_str(), &info) != 0)
    throw IoError("cannot stat " + options.path + ": " + std::strerror(errno), errno);
  return backend.device->description() + "\ndisk " + std::to_string(info.st_dev) + "\nengine " +
         std::to_string(static_cast<int>(options.engine)) + "\nweights " +
         std::string(options.all_weights ? "all" : dtype_name(options.weights)) +
         (options.int8_activations ? " int8" : "") + "\nunpacked " +
         std::to_string(backend.limits.unpack_bytes);
}

std::optional<HardwareProfile> fresh_profile(const std::string& path) {
  std::error_code error;
  const auto written = std::filesystem::last_write_time(path, error);
  if (error || decltype(written)::clock::now() - written > kFreshFor) return std::nullopt;
  try {
    return read_hardware_profile(path);
  } catch (const UsageError&) {  // damaged, or of another version
    return std::nullopt;
  }
}

}  // namespace

HardwareProfile load_profile_or_measure(const std::string& cache_folder, const Backend& backend,
                                        const QuickProbeOptions& options) {
  const std::string folder = path_in(cache_folder, "hardware");
  const std::string path =
      path_in(folder, digest_to_hex(digest_of(profile_key(backend, options))) + ".yaml");
  if (auto known = fresh_profile(path)) return std::move(*known);
  HardwareProfile profile = quick_profile(backend, options);
  try {
    make_folder(folder);
    write_text_file(path, hardware_profile_text(profile));
  } catch (const IoError&) {  // the next run measures again
  }
  return profile;
}

}  // namespace zerostream
