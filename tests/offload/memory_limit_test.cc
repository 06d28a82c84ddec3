#include "offload/memory_limit.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/temp_dir.h"

namespace zerostream {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

// A root folder with a machine of 1000 MiB available and a process that holds 100 MiB.
class MemoryLimitTest : public testing::Test {
 protected:
  MemoryLimitTest() {
    put("proc/meminfo", "MemTotal: 9999 kB\nMemAvailable:  1024000 kB\n");
    put("proc/self/status", "Name:\tx\nVmRSS:\t  102400 kB\n");
  }
  void put(const std::string& name, const std::string& text) {
    const auto path = root_.path() / name;
    std::filesystem::create_directories(path.parent_path());
    write_file(path.string(), text);
  }
  void put_megabytes(const std::string& name, int64_t megabytes) {
    put(name, std::to_string(megabytes * kMiB) + "\n");
  }
  HostMemory measure() { return measure_host_memory(root_.path().string()); }

  TempDir root_;
};

TEST_F(MemoryLimitTest, WithoutCgroupsTheMachineCounts) {
  EXPECT_EQ(measure().available, 1100 * kMiB);
  EXPECT_EQ(measure().limit, 1100 * kMiB);
  EXPECT_EQ(measure().usable(), (1100 - 100 - 55) * kMiB);
}

TEST_F(MemoryLimitTest, TightestLevelOfVersion2) {
  put("proc/self/mountinfo", "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  put("proc/self/cgroup", "0::/user/job\n");
  put("sys/fs/cgroup/user/job/memory.max", "max\n");
  put_megabytes("sys/fs/cgroup/user/memory.max", 600);
  EXPECT_EQ(measure().usable(), (600 - 100 - 30) * kMiB);
  put_megabytes("sys/fs/cgroup/user/job/memory.high", 400);
  EXPECT_EQ(measure().limit, 400 * kMiB);
}

TEST_F(MemoryLimitTest, OthersInTheGroupCountAndPageCacheDoesNot) {
  put("proc/self/mountinfo", "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  put("proc/self/cgroup", "0::/\n");
  put_megabytes("sys/fs/cgroup/memory.max", 600);
  put_megabytes("sys/fs/cgroup/memory.current", 450);
  put("sys/fs/cgroup/memory.stat", "anon 1\nactive_file " + std::to_string(100 * kMiB) +
                                       "\ninactive_file " + std::to_string(50 * kMiB) + "\n");
  EXPECT_EQ(measure().limit, (600 - (450 - 150 - 100)) * kMiB);
}

TEST_F(MemoryLimitTest, Version1InAContainer) {
  put("proc/self/mountinfo",
      "31 1 0:27 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
      "32 1 0:28 / /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n");
  put("proc/self/cgroup", "9:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n");
  put_megabytes("sys/fs/cgroup/memory/memory.limit_in_bytes", 500);
  EXPECT_EQ(measure().limit, 500 * kMiB);
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(measure().limit, 1100 * kMiB);
}

TEST_F(MemoryLimitTest, NothingLeftIsNothing) {
  put("proc/self/mountinfo", "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  put("proc/self/cgroup", "0::/\n");
  put_megabytes("sys/fs/cgroup/memory.max", 50);
  EXPECT_EQ(measure().usable(), 0);
}

TEST(MemoryLimit, ThisMachine) {
  EXPECT_GT(measure_host_memory().usable(), 0);
  EXPECT_GT(peak_resident_bytes(), kMiB);
}

}  // namespace
}  // namespace zerostream
