// What the command does on machines that lack things.
#include <grp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/cli/cli_fixture.h"
#include "tests/support/seccomp.h"

namespace zerostream {
namespace {

using testing::HasSubstr;

constexpr int kRows = 20;

class LimitsTest : public CliTest {
 protected:
  // What the machine without these things says of itself.
  std::string doctor(const std::function<void()>& prepare) {
    const CommandResult result = run_command({"doctor"}, folder_.path().string(), "", prepare);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.out;
  }
  // A run that streams weights, keys and values on it; what it says of itself.
  CommandResult run(const std::function<void()>& prepare, const std::vector<std::string>& more = {},
                    const std::string& model = kModel) {
    write_rows(kRows, 60);
    std::vector<std::string> arguments = {"run",      "--model",  model,      "--input",
                                          "in.jsonl", "--output", "out.jsonl"};
    for (const char* setting :
         {"weights.placement=nvme", "kv_cache.placement=nvme", "kv_cache.block_tokens=4"})
      arguments.insert(arguments.end(), {"--set", setting});
    arguments.insert(arguments.end(), more.begin(), more.end());
    std::filesystem::remove(folder_.file("out.jsonl"));
    return run_command(arguments, folder_.path().string(), "", prepare);
  }
  // The run works, and its notes have `note`.
  void expect_run(const std::function<void()>& prepare, const std::string& note = "") {
    const CommandResult result = run(prepare);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.err, HasSubstr(note));
    EXPECT_EQ(parse_lines(read("out.jsonl")).size(), size_t{kRows});
  }
};

void limit(__rlimit_resource what, rlim_t most) {
  rlimit now{};
  getrlimit(what, &now);
  now.rlim_cur = most;
  setrlimit(what, &now);
}

TEST_F(LimitsTest, WithoutUring) {
  const auto prepare = [] { forbid({SYS_io_uring_setup}); };
  expect_run(prepare, "io_uring: ");
  EXPECT_THAT(doctor(prepare), HasSubstr("io_uring: Operation not permitted"));
}

TEST_F(LimitsTest, WithoutUringAndLibaio) {
  const auto prepare = [] { forbid({SYS_io_uring_setup, SYS_io_setup}); };
  expect_run(prepare, "libaio: ");
  EXPECT_EQ(Json::parse(read("out.report.json"))["io"]["engine"], "threads");
}

// A process of root may lock memory all the same.
TEST_F(LimitsTest, WithoutLockedMemory) {
  const auto prepare = [] { limit(RLIMIT_MEMLOCK, 0); };
  expect_run(prepare);
  EXPECT_THAT(doctor(prepare), HasSubstr("limited to 0 B"));
}

TEST_F(LimitsTest, WithoutHugePages) {
  const auto prepare = [] { prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); };
  expect_run(prepare);
  EXPECT_THAT(doctor(prepare), HasSubstr("switched off for this process"));
}

TEST_F(LimitsTest, OnOneCore) {
  expect_run([] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    sched_setaffinity(0, sizeof one, &one);
  });
}

TEST_F(LimitsTest, StoresInMemoryAndOnOtherDisks) {
  const std::string store = "/dev/shm/zerostream-test-" + std::to_string(getpid());
  const CommandResult result = run({}, {"--set", "model.store=" + store});
  std::filesystem::remove_all(store);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const bool direct = Json::parse(read("out.report.json"))["io"]["direct"];
  EXPECT_NE(result.err.find("direct I/O is not used for " + store) != result.err.npos, direct)
      << result.err;
}

TEST_F(LimitsTest, FewOpenFilesAreAnIoErrorThatSaysSo) {
  run({});  // measures the machine
  int refused = 0;
  for (rlim_t files = 7; files < 40; files += 3) {
    const CommandResult result = run([files] { limit(RLIMIT_NOFILE, files); });
    constexpr int kLibrariesNotLoaded = 127;  // by the system, before the program begins
    if (result.exit_code == 0 || result.exit_code == kLibrariesNotLoaded) continue;
    EXPECT_EQ(result.exit_code, 5) << files << " files: " << result.err;
    EXPECT_THAT(result.err, HasSubstr("Too many open files"));
    ++refused;
  }
  EXPECT_GT(refused, 2);
}

// Model and store of somebody else, who lets others only read.
TEST_F(LimitsTest, AsAnotherUserWithAModelThatCannotBeWritten) {
  constexpr uid_t kNobody = 65534;
  if (geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  std::filesystem::copy(kModel, folder_.file("model"));
  for (const auto& entry : std::filesystem::directory_iterator(folder_.file("model")))
    chmod(entry.path().c_str(), 0444);
  ASSERT_EQ(command({"pack", "model", "-o", "store"}).exit_code, 0);
  chmod(folder_.file("model").c_str(), 0555);
  chmod(folder_.file("store").c_str(), 0555);
  std::filesystem::create_directory(folder_.file("kv"));
  for (const std::string& name : {folder_.path().string(), folder_.file("kv")})
    ASSERT_EQ(chown(name.c_str(), kNobody, kNobody), 0);
  const auto prepare = [] {
    if (setgroups(0, nullptr) != 0 || setgid(kNobody) != 0 || setuid(kNobody) != 0) _exit(125);
  };
  const CommandResult from_model = run(prepare, {}, "model");
  EXPECT_EQ(from_model.exit_code, 0) << from_model.err;
  const CommandResult from_store = run(prepare, {}, "store");
  EXPECT_EQ(from_store.exit_code, 5) << from_store.err;
  EXPECT_THAT(from_store.err,
              testing::AllOf(HasSubstr("kv_cache.directory"), HasSubstr("Permission denied")));
  const CommandResult elsewhere = run(prepare, {"--set", "kv_cache.directory=kv"}, "store");
  EXPECT_EQ(elsewhere.exit_code, 0) << elsewhere.err;
  EXPECT_THAT(doctor(prepare), HasSubstr("direct I/O in "));
}

}  // namespace
}  // namespace zerostream
