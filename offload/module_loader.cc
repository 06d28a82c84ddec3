#include "offload/module_loader.h"

#include <dlfcn.h>

#include <cstring>
#include <filesystem>
#include <vector>

#include "zerostream/error.h"

namespace zerostream {
namespace {

// The folder of the program or library that holds this code.
std::filesystem::path own_folder() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&load_device_module), &info) == 0) return {};
  std::error_code ignored;
  const auto path = std::filesystem::canonical(info.dli_fname, ignored);
  if (!ignored) return path.parent_path();
  return std::filesystem::canonical("/proc/self/exe", ignored).parent_path();
}

// What is looked for, in this order; a bare name is left to the system.
std::vector<std::string> places(const std::string& path, const std::string& name) {
  if (!path.empty()) return {std::filesystem::absolute(path).string()};
  const std::filesystem::path folder = own_folder();
  return {(folder / name).string(),
          (folder / ".." / ZEROSTREAM_LIBRARY_FOLDER / name).lexically_normal().string(), name};
}

std::string last_loader_error() {
  const char* text = dlerror();
  return text == nullptr ? "unknown error" : text;
}

// Null, and `why`, if that is no module of ours.
const DeviceModule* load(const std::string& place, std::string& why) {
  if (place.find('/') != std::string::npos && !std::filesystem::exists(place)) {
    why = place + ": no such file";
    return nullptr;
  }
  void* handle = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    why = last_loader_error();
    return nullptr;
  }
  auto* entry = reinterpret_cast<DeviceModuleEntry*>(dlsym(handle, kDeviceModuleEntry));
  if (entry == nullptr) {
    why = last_loader_error();
    return nullptr;
  }
  const DeviceModule* module = entry();
  if (module->version == kDeviceModuleVersion &&
      std::strcmp(module->release, ZEROSTREAM_VERSION) == 0)
    return module;
  why = place + ": belongs to another version of zerostream: " + module->release + ", interface " +
        std::to_string(module->version) + "; this is " ZEROSTREAM_VERSION ", interface " +
        std::to_string(kDeviceModuleVersion);
  return nullptr;
}

}  // namespace

const DeviceModule& load_device_module(const std::string& path, const std::string& name) {
  std::string all;
  for (const std::string& place : places(path, name)) {
    std::string why;
    if (const DeviceModule* module = load(place, why)) return *module;
    all += (all.empty() ? "" : "; ") + why;
  }
  throw DeviceError("no module for the device could be loaded: " + all);
}

}  // namespace zerostream
