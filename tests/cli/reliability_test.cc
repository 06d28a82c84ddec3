// Jobs that are killed, cut off from their files, and taken up again.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <random>

#include "tests/cli/cli_fixture.h"

namespace zerostream {
namespace {

using testing::HasSubstr;

class ReliabilityTest : public CliTest {
 protected:
  // The tiny model, streamed from a store of this test's own.
  std::vector<std::string> job(const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments =
        run_arguments({"--set", "model.store=store", "--set", "weights.placement=nvme", "--set",
                       "batch.max_sequences=4", "--set", "sampling.temperature=0.8"});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  std::vector<std::string> sorted_output() {
    std::vector<std::string> lines;
    std::ifstream stream(folder_.file("out.jsonl"));
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    std::sort(lines.begin(), lines.end());
    return lines;
  }
  // The output of an undisturbed run, which is removed.
  std::vector<std::string> undisturbed() {
    EXPECT_EQ(command(job()).exit_code, 0);
    std::vector<std::string> lines = sorted_output();
    for (const char* name : {"out.jsonl", "out.jsonl.state"})
      std::filesystem::remove(folder_.file(name));
    return lines;
  }
  void expect_rest_is(const std::vector<std::string>& lines) {
    const CommandResult rest = command(job());
    EXPECT_EQ(rest.exit_code, 0) << rest.err;
    EXPECT_EQ(sorted_output(), lines);
  }
};

TEST_F(ReliabilityTest, AJobKilledTwentyTimesEndsAsIfItNeverWas) {
  write_rows(1200, 25);
  const std::vector<std::string> expected = undisturbed();
  ASSERT_EQ(expected.size(), 1200u);
  std::mt19937 random(7);
  uintmax_t written = 0;
  for (int i = 0; i < 20; ++i) {
    Command running(job(), folder_.path().string());
    if (i % 4 != 0) wait_for_output(written + 1 + random() % 6000);  // else: as it begins
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 40));
    ASSERT_EQ(kill(running.process(), SIGKILL), 0);
    ASSERT_EQ(running.wait().exit_code, 128 + SIGKILL) << "kill " << i << " came too late";
    written = read("out.jsonl").size();
  }
  EXPECT_GT(written, 10000u);
  expect_rest_is(expected);
}

TEST_F(ReliabilityTest, ASecondSignalEndsAtOnceAndWhatIsWrittenIsValid) {
  write_rows(2000, 40);
  Command running(job(), folder_.path().string());
  wait_for_output(2000);
  kill(running.process(), SIGINT);
  kill(running.process(), SIGINT);
  EXPECT_EQ(running.wait().exit_code, 128 + SIGINT);
  EXPECT_FALSE(sorted_output().empty());
}

// Rows have no ids here: each is known by what it says.
TEST_F(ReliabilityTest, RowsKeepTheirResultsWhereverTheyStand) {
  const auto row = [](int token) {
    return "{\"prompt_token_ids\": [" + std::to_string(token) + "], \"max_tokens\": 9}\n";
  };
  write("in.jsonl", row(1) + row(2) + row(3) + row(2) + row(4));
  ASSERT_EQ(command(job()).exit_code, 0);
  write("in.jsonl", row(4) + row(5) + "\n" + row(2) + row(1) + row(2));
  ASSERT_EQ(command(job()).exit_code, 0);
  const Json rows = Json::parse(read("out.report.json"))["rows"];
  EXPECT_EQ(rows["ok"], 1);
  EXPECT_EQ(rows["kept"], 4);
  const std::vector<std::string> resumed = sorted_output();
  EXPECT_EQ(parse_lines(read("out.jsonl.old")).size(), 1u) << "the row that is gone";
  EXPECT_EQ(undisturbed(), resumed);
}

TEST_F(ReliabilityTest, ADiskThatFillsUpEndsInExitCodeFiveAndTheJobGoesOn) {
  write_rows(300);
  const std::vector<std::string> expected = undisturbed();
  for (const rlim_t bytes : {100, 5000, 20000}) {
    const CommandResult full =
        run_command(job({"--set", "job.report=~"}), folder_.path().string(), "", [bytes] {
          const rlimit limit{bytes, bytes};
          setrlimit(RLIMIT_FSIZE, &limit);
        });
    EXPECT_EQ(full.exit_code, 5) << full.err;
    EXPECT_THAT(full.err, HasSubstr("out.jsonl"));
    for (const std::string& line : sorted_output())
      EXPECT_TRUE(std::binary_search(expected.begin(), expected.end(), line)) << line;
  }
  expect_rest_is(expected);
}

TEST_F(ReliabilityTest, AnOutputFolderThatGoesAwayEndsInExitCodeFive) {
  write_rows(3000, 40);
  std::filesystem::create_directory(folder_.file("results"));
  std::filesystem::create_directory_symlink("results", folder_.file("link"));
  std::vector<std::string> arguments = job({"--set", "job.report=~"});
  *std::find(arguments.begin(), arguments.end(), "out.jsonl") = "results/out.jsonl";
  std::filesystem::create_symlink("results/out.jsonl", folder_.file("out.jsonl"));
  Command running(arguments, folder_.path().string());
  wait_for_output(2000);
  std::filesystem::remove_all(folder_.file("results"));
  const CommandResult result = running.wait();
  EXPECT_EQ(result.exit_code, 5) << result.err;
  EXPECT_THAT(result.err, HasSubstr("was removed while the run was writing it"));
}

TEST_F(ReliabilityTest, FilesThatVanishInMidRunAreStillRead) {
  write_rows(200, 20);
  const std::vector<std::string> expected = undisturbed();
  Command running(job(), folder_.path().string());
  wait_for_output(2000);
  std::filesystem::remove(folder_.file("in.jsonl"));
  std::filesystem::rename(folder_.file("store"), folder_.file("elsewhere"));
  const CommandResult result = running.wait();
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(sorted_output(), expected);
}

TEST_F(ReliabilityTest, AStoreThatShrinksInMidRunIsNamedAndTheJobGoesOn) {
  write_rows(400, 20);
  const std::vector<std::string> expected = undisturbed();
  Command running(job(), folder_.path().string());
  wait_for_output(2000);
  std::filesystem::resize_file(folder_.file("store/weights.bin"), 100'000);
  const CommandResult result = running.wait();
  EXPECT_EQ(result.exit_code, 5) << result.err;
  EXPECT_THAT(result.err, testing::AllOf(HasSubstr("store/weights.bin"), HasSubstr("offset")));
  expect_rest_is(expected);  // the model is packed again
}

TEST_F(ReliabilityTest, OtherWeightsAreRefusedUnlessTheOutputIsNew) {
  write_rows(5);
  ASSERT_EQ(command(run_arguments()).exit_code, 0);
  expect_error(run_arguments({"--set", "weights.dtype=bf16"}), 2, "weights.dtype was ");
  expect_error(run_arguments({"--set", "kv_cache.dtype=int8"}), 2, "kv_cache.dtype was not set");
  EXPECT_EQ(command(run_arguments({"--set", "nvme.engine=threads", "--set", "prefetch.depth=0"}))
                .exit_code,
            0)
      << "what does not show in the text may change";
}

}  // namespace
}  // namespace zerostream
