#include "offload/doctor.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/temp_dir.h"

namespace zerostream {
namespace {

TEST(Doctor, LooksAtEverythingAndAdvises) {
  const TempDir folder;
  const auto findings = examine_machine({folder.path().string(), folder.file("none")});
  const auto has = [&](const std::string& name) {
    return std::any_of(findings.begin(), findings.end(),
                       [&](const Finding& finding) { return finding.name == name; });
  };
  for (const char* name : {"io_uring", "libaio", "threads", "transparent huge pages",
                           "locked memory", "memory", "processor", "GPU", "NCCL", "MPI"})
    EXPECT_TRUE(has(name)) << name;
  EXPECT_TRUE(has("direct I/O in " + folder.path().string()));
  EXPECT_FALSE(has("direct I/O in " + folder.file("none")));
  for (const Finding& finding : findings) {
    EXPECT_FALSE(finding.what.empty()) << finding.name;
    EXPECT_EQ(finding.health == Health::kGood, finding.advice.empty()) << finding.name;
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  EXPECT_EQ(findings_json(findings).size(), findings.size());
}

}  // namespace
}  // namespace zerostream
