#include "offload/memory_limit.h"

#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <vector>

#include "zerostream/error.h"

namespace zerostream {
namespace {

namespace fs = std::filesystem;

// The number after `key` in a file of "key number" lines; nullopt if file or key is not there.
std::optional<int64_t> number_after(const fs::path& path, const std::string& key) {
  std::ifstream stream(path);
  for (std::string line; std::getline(stream, line);) {
    std::istringstream words(line);
    std::string name;
    int64_t number = 0;
    if (words >> name >> number && name == key) return number;
  }
  return std::nullopt;
}

// The number that a file holds; nullopt for "max" and for no file.
std::optional<int64_t> number_in(const fs::path& path) {
  std::ifstream stream(path);
  int64_t number = 0;
  return stream >> number ? std::optional(number) : std::nullopt;
}

int64_t kibibytes(const fs::path& path, const std::string& key) {
  const auto number = number_after(path, key);
  if (!number) throw IoError("cannot read " + key + " from " + path.string(), 0);
  return *number * 1024;
}

// Names of a version's files.
struct CgroupFiles {
  std::vector<const char*> limits;
  const char* usage;
  std::vector<const char*> file_cache;  // keys of memory.stat: pages that the kernel can drop
};

CgroupFiles version_1() {
  return {{"memory.limit_in_bytes"},
          "memory.usage_in_bytes",
          {"total_active_file", "total_inactive_file"}};
}
CgroupFiles version_2() {
  return {{"memory.max", "memory.high"}, "memory.current", {"active_file", "inactive_file"}};
}

// What the group leaves to this process, which holds `held` bytes of it.
std::optional<int64_t> group_limit(const fs::path& folder, const CgroupFiles& files, int64_t held) {
  std::optional<int64_t> limit;
  for (const char* name : files.limits)
    if (const auto number = number_in(folder / name))
      limit = std::min(limit.value_or(*number), *number);
  if (!limit) return std::nullopt;
  int64_t usage = number_in(folder / files.usage).value_or(0);
  for (const char* key : files.file_cache)
    usage -= number_after(folder / "memory.stat", key).value_or(0);
  return std::max<int64_t>(0, *limit - std::max<int64_t>(0, usage - held));
}

// Where a hierarchy with the memory controller is mounted, and which of its groups that folder is.
struct CgroupMount {
  bool version_1 = false;
  std::string group;  // "/" unless only a part is mounted
  std::string folder;
};

std::vector<CgroupMount> memory_mounts(const fs::path& mountinfo) {
  std::vector<CgroupMount> mounts;
  std::ifstream stream(mountinfo);
  for (std::string line; std::getline(stream, line);) {
    std::istringstream words(line);
    std::string skipped, group, folder, type, source, options;
    words >> skipped >> skipped >> skipped >> group >> folder;
    while (words >> skipped && skipped != "-") continue;
    words >> type >> source >> options;
    const bool version_1 =
        type == "cgroup" && ("," + options + ",").find(",memory,") != options.npos;
    if (version_1 || type == "cgroup2") mounts.push_back({version_1, group, folder});
  }
  return mounts;
}

// This process's group from a line of /proc/self/cgroup, "4:memory:/group" or "0::/group".
std::string own_group(const fs::path& cgroups, bool version_1) {
  std::ifstream stream(cgroups);
  for (std::string line; std::getline(stream, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool matches =
        version_1 ? ("," + controllers + ",").find(",memory,") != line.npos : controllers.empty();
    if (matches) return line.substr(second + 1);
  }
  return "/";
}

std::optional<int64_t> mount_limit(const fs::path& root, const CgroupMount& mount, int64_t held) {
  const CgroupFiles files = mount.version_1 ? version_1() : version_2();
  const fs::path group = own_group(root / "proc/self/cgroup", mount.version_1);
  const fs::path below = group.lexically_relative(mount.group);
  const bool visible = !below.empty() && *below.begin() != "..";
  const fs::path top = root / fs::path(mount.folder).relative_path();
  std::optional<int64_t> limit;
  fs::path folder = visible ? (top / below).lexically_normal() : top;
  while (true) {
    if (const auto found = group_limit(folder, files, held))
      limit = std::min(limit.value_or(*found), *found);
    if (fs::relative(folder, top) == "." || folder == folder.parent_path()) return limit;
    folder = folder.parent_path();
  }
}

}  // namespace

int64_t HostMemory::usable() const {
  const int64_t most = std::min(available, limit);
  return std::max<int64_t>(0, most - held - most / 20);
}

HostMemory measure_host_memory(const std::string& root) {
  const fs::path base(root);
  HostMemory memory;
  memory.held = kibibytes(base / "proc/self/status", "VmRSS:");
  memory.available = kibibytes(base / "proc/meminfo", "MemAvailable:") + memory.held;
  memory.limit = memory.available;
  for (const CgroupMount& mount : memory_mounts(base / "proc/self/mountinfo"))
    if (const auto limit = mount_limit(base, mount, memory.held))
      memory.limit = std::min(memory.limit, *limit);
  return memory;
}

int64_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

}  // namespace zerostream
