#include "offload/doctor.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/bytes.h"
#include "nvme/file.h"
#include "nvme/io_engine.h"
#include "nvme/transfer.h"
#include "offload/backend.h"
#include "offload/memory_limit.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

std::string first_line(const std::string& path) {
  std::ifstream stream(path);
  std::string line;
  std::getline(stream, line);
  return line;
}

Finding engine(const std::string& name, IoEngineKind kind, const std::string& advice) {
  constexpr int kCapacity = 16;
  try {
    make_io_engine(kind, kCapacity, nullptr);
    return {name, Health::kGood, "works", ""};
  } catch (const Error& error) {
    return {name, Health::kSlower, error.what(), advice};
  }
}

// A file of one page, removed when this goes.
class ProbeFile {
 public:
  explicit ProbeFile(const std::string& folder)
      : path_((std::filesystem::path(folder) / ".zerostream-doctor-").string() +
              std::to_string(getpid())) {
    const std::string page(4096, 'x');
    const File file = File::open(path_, {.write = true});
    write_fully(file, 0, reinterpret_cast<const std::byte*>(page.data()), 4096);
  }
  ~ProbeFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  ProbeFile(const ProbeFile&) = delete;
  ProbeFile& operator=(const ProbeFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

Finding direct_io(const std::string& folder) {
  const std::string name = "direct I/O in " + folder;
  const std::string advice =
      "keep packed stores (model.store) on a file system that has it, such as ext4 or xfs on a "
      "local disk";
  try {
    const ProbeFile probe(folder);
    const File file = File::open(probe.path(), {.direct = true});
    if (!file.direct()) return {name, Health::kSlower, file.why_not_direct(), advice};
    return {name, Health::kGood, "works, alignment " + std::to_string(file.alignment()), ""};
  } catch (const Error& error) {
    return {name, Health::kSlower, error.what(), "make the folder writable to have it examined"};
  }
}

Finding transparent_huge_pages() {
  const std::string name = "transparent huge pages";
  if (prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) > 0)
    return {name, Health::kSlower, "switched off for this process (prctl PR_SET_THP_DISABLE)",
            "ask whoever starts this process; reads land in small pages"};
  const std::string mode = first_line("/sys/kernel/mm/transparent_hugepage/enabled");
  if (mode.find("[always]") != std::string::npos || mode.find("[madvise]") != std::string::npos)
    return {name, Health::kGood, mode, ""};
  return {name, Health::kSlower, mode.empty() ? "not known to this kernel" : mode,
          "reads land in small pages, at half the rate on some machines; as root: echo madvise > "
          "/sys/kernel/mm/transparent_hugepage/enabled"};
}

Finding locked_memory() {
  const std::string name = "locked memory";
  rlimit limit{};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  if (limit.rlim_cur == RLIM_INFINITY) return {name, Health::kGood, "no limit", ""};
  return {name, Health::kSlower,
          "limited to " + format_bytes(static_cast<int64_t>(limit.rlim_cur)) +
              ": larger buffers cannot be registered with io_uring",
          "raise it (ulimit -l unlimited, or memlock in /etc/security/limits.conf)"};
}

Finding memory() {
  const std::string name = "memory";
  try {
    const HostMemory memory = measure_host_memory();
    std::string what = format_bytes(memory.available) + " available";
    if (memory.limit < memory.available)
      what += ", limited to " + format_bytes(memory.limit) + " by a memory cgroup";
    return {name, Health::kGood, what + "; a run takes at most " + format_bytes(memory.usable()),
            ""};
  } catch (const Error& error) {
    return {name, Health::kMissing, error.what(), "mount /proc, or give host.memory"};
  }
}

Finding processor() {
  try {
    return {"processor", Health::kGood, describe_processor(), ""};
  } catch (const Error& error) {
    return {"processor", Health::kMissing, error.what(), "use a processor with AVX2 and FMA"};
  }
}

Finding gpu(const std::string& cuda_module) {
  try {
    return {"GPU", Health::kGood, describe_gpu(cuda_module), ""};
  } catch (const Error& error) {
    return {
        "GPU", Health::kMissing, error.what(),
        "runs use the processor; device.type: cuda needs an NVIDIA driver, the CUDA runtime and "
        "cuBLAS of its major version where the loader finds them, and libzerostream_cuda.so of "
        "this version, which is built where there is nvcc"};
  }
}

Finding not_built(const std::string& name, const std::string& what) {
  return {name, Health::kMissing, "not part of this build", what};
}

std::string_view health_name(Health health) {
  switch (health) {
    case Health::kGood:
      return "good";
    case Health::kSlower:
      return "slower";
    case Health::kMissing:
      return "missing";
  }
  return "";
}

}  // namespace

std::vector<Finding> examine_machine(const std::vector<std::string>& folders,
                                     const std::string& cuda_module) {
  std::vector<Finding> findings = {
      engine("io_uring", IoEngineKind::kUring,
             "needs Linux 5.6, a build with liburing, and a container that allows it "
             "(seccomp); libaio does nearly as well"),
      engine("libaio", IoEngineKind::kLibaio, "needs a build with libaio"),
      engine("threads", IoEngineKind::kThreads, "needs threads")};
  for (const std::string& folder : folders)
    if (std::filesystem::is_directory(folder)) findings.push_back(direct_io(folder));
  findings.insert(findings.end(), {transparent_huge_pages(), locked_memory(), memory(), processor(),
                                   gpu(cuda_module), not_built("NCCL", "runs have one rank"),
                                   not_built("MPI", "runs have one rank")});
  return findings;
}

Json findings_json(const std::vector<Finding>& findings) {
  Json json = Json::array();
  for (const Finding& finding : findings)
    json.push_back({{"name", finding.name},
                    {"health", health_name(finding.health)},
                    {"what", finding.what},
                    {"advice", finding.advice}});
  return json;
}

}  // namespace zerostream
