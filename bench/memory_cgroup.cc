#include "bench/memory_cgroup.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string_view>

namespace zerostream {
namespace {

namespace fs = std::filesystem;

bool write_value(const std::string& path, const std::string& value) {
  std::ofstream file(path);
  file << value << std::flush;
  return file.good();
}

int64_t read_value(const std::string& path) {
  int64_t value = -1;
  std::ifstream(path) >> value;
  return value;
}

// The value after `key` in a file of "key value" lines, -1 if there is none.
int64_t read_field(const std::string& path, std::string_view key) {
  std::ifstream file(path);
  std::string name;
  int64_t value = -1;
  while (file >> name >> value)
    if (name == key) return value;
  return -1;
}

}  // namespace

std::optional<MemoryCgroup> MemoryCgroup::enter(int64_t limit_bytes, std::string* why) {
  const bool v2 = fs::exists("/sys/fs/cgroup/cgroup.controllers");
  const std::string parent = v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
  const std::string path = parent + "/zerostream-bench-" + std::to_string(getpid());
  std::error_code error;
  if (!fs::create_directory(path, error)) {
    *why = "cannot make " + path + ": " + error.message();
    return std::nullopt;
  }
  MemoryCgroup group(path, parent, v2);
  if (v2) write_value(parent + "/cgroup.subtree_control", "+memory");
  if (!write_value(path + (v2 ? "/memory.max" : "/memory.limit_in_bytes"),
                   std::to_string(limit_bytes)) ||
      !write_value(path + "/cgroup.procs", std::to_string(getpid()))) {
    *why = "cannot set the limit of " + path;
    return std::nullopt;
  }
  return group;
}

MemoryCgroup::MemoryCgroup(std::string path, std::string parent, bool v2)
    : path_(std::move(path)), parent_(std::move(parent)), v2_(v2) {}

MemoryCgroup::MemoryCgroup(MemoryCgroup&& other) noexcept
    : path_(std::move(other.path_)), parent_(std::move(other.parent_)), v2_(other.v2_) {
  other.path_.clear();
}

MemoryCgroup::~MemoryCgroup() {
  if (path_.empty()) return;
  write_value(parent_ + "/cgroup.procs", std::to_string(getpid()));
  rmdir(path_.c_str());
}

int64_t MemoryCgroup::peak_bytes() const {
  return read_value(path_ + (v2_ ? "/memory.peak" : "/memory.max_usage_in_bytes"));
}

int64_t MemoryCgroup::page_cache_bytes() const {
  return read_field(path_ + "/memory.stat", v2_ ? "file" : "cache");
}

int64_t kernel_read_bytes() { return read_field("/proc/self/io", "read_bytes:"); }

}  // namespace zerostream
