#include "offload/job_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <filesystem>

#include "tests/support/temp_dir.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

const Json kSettings = {{"model", "f00"}, {"sampling", {{"top_k", 1}}}};

RowIdentity row(uint64_t number) { return {.high = number * 77, .low = number}; }
std::string line(uint64_t number, int64_t index) {
  return R"({"id":)" + std::to_string(number) + R"(,"index":)" + std::to_string(index) +
         R"(,"text":"t"})";
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    EXPECT_NE(end, std::string::npos) << "a torn last line";
    if (end == std::string::npos) break;
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

class JobStateTest : public testing::Test {
 protected:
  // An input of rows `numbers`, in that order.
  static InputIndex input(const std::vector<uint64_t>& numbers) {
    InputIndex index;
    for (size_t i = 0; i < numbers.size(); ++i)
      index[row(numbers[i])] = {.index = static_cast<int64_t>(i)};
    return index;
  }
  // Runs over the input as a job does; returns the rows that were worked on.
  std::vector<uint64_t> run(const std::vector<uint64_t>& numbers, ResumeSummary* summary = nullptr,
                            const Json& settings = kSettings, bool resume = true) {
    JobState state(path_);
    const ResumeSummary taken = state.prepare(settings, resume, input(numbers));
    if (summary != nullptr) *summary = taken;
    std::vector<uint64_t> worked;
    for (size_t i = 0; i < numbers.size(); ++i) {
      if (state.done(row(numbers[i]))) continue;
      worked.push_back(numbers[i]);
      const auto index = static_cast<int64_t>(i);
      state.append({.row = row(numbers[i]), .place = {.index = index}, .error = numbers[i] >= 100},
                   line(numbers[i], index));
    }
    return worked;
  }
  std::vector<std::string> output() { return lines_of(read_file(path_)); }

  TempDir folder_;
  std::string path_ = folder_.file("out.jsonl");
};

TEST_F(JobStateTest, FinishedRowsNeedNoWork) {
  EXPECT_THAT(run({1, 2}), ElementsAre(1, 2));
  EXPECT_THAT(run({1, 2}), ElementsAre());
  EXPECT_THAT(output(), ElementsAre(line(1, 0), line(2, 1)));
}

// A run writes the state line, then the output line. Killed at any byte of either, the next run
// ends with every row once, and redoes at most the row that was torn.
TEST_F(JobStateTest, KilledAtAnyByte) {
  run({1, 2, 3});
  const std::string state = read_file(path_ + ".state");
  const std::string out = read_file(path_);
  const std::vector<std::string> wanted = output();
  size_t state_done = state.find('\n') + 1, out_done = 0;  // the header comes before any row
  const auto check = [&](size_t state_bytes, size_t out_bytes) {
    write_file(path_ + ".state", state.substr(0, state_bytes));
    write_file(path_, out.substr(0, out_bytes));
    const auto whole = std::count(out.begin(), out.begin() + out_bytes, '\n');
    EXPECT_EQ(run({1, 2, 3}).size(), 3u - whole) << state_bytes << " " << out_bytes;
    EXPECT_EQ(output(), wanted) << state_bytes << " " << out_bytes;
  };
  for (size_t bytes = 0; bytes < state_done; ++bytes) check(bytes, 0);
  while (out_done < out.size()) {
    const size_t state_next = state.find('\n', state_done) + 1;
    const size_t out_next = out.find('\n', out_done) + 1;
    for (; state_done < state_next; ++state_done) check(state_done, out_done);
    for (; out_done < out_next; ++out_done) check(state_done, out_done);
  }
  check(state.size(), out.size());
}

TEST_F(JobStateTest, EditedInputRunsOnlyNewRows) {
  run({1, 2, 3});
  ResumeSummary summary;
  EXPECT_THAT(run({4, 1, 3}, &summary), ElementsAre(4));
  EXPECT_THAT(output(), ElementsAre(line(1, 1), line(3, 2), line(4, 0)));
  EXPECT_THAT(lines_of(read_file(path_ + ".old")), ElementsAre(line(2, 1)));
  EXPECT_EQ(summary.kept, 2);
  EXPECT_EQ(summary.moved_aside, 1);
  EXPECT_THAT(run({4, 1, 3}, &summary), ElementsAre());
  EXPECT_EQ(summary.kept, 3);
  EXPECT_FALSE(std::filesystem::exists(path_ + ".new"));
}

TEST_F(JobStateTest, KilledWhileRewriting) {
  run({1, 2, 3});
  const std::string before = read_file(path_), state = read_file(path_ + ".state");
  run({4, 1, 3});
  const std::string state_after = read_file(path_ + ".state");
  // Before the rename: the old output, a half-written new one, and state lines of the new one.
  for (size_t bytes = state.size(); bytes <= state_after.size(); ++bytes) {
    write_file(path_, before);
    write_file(path_ + ".new", before.substr(0, 7));
    write_file(path_ + ".state", state_after.substr(0, bytes));
    EXPECT_THAT(run({4, 1, 3}), ElementsAre(4));
    EXPECT_THAT(output(), ElementsAre(line(1, 1), line(3, 2), line(4, 0)));
  }
}

TEST_F(JobStateTest, ErrorRowsAreRedone) {
  run({1, 100, 2});
  ResumeSummary summary;
  EXPECT_THAT(run({1, 100, 2}, &summary), ElementsAre(100));
  EXPECT_EQ(summary.redone, 1);
  EXPECT_THAT(output(), ElementsAre(line(1, 0), line(2, 2), line(100, 1)));
  EXPECT_FALSE(std::filesystem::exists(path_ + ".old"));
}

TEST_F(JobStateTest, UnknownInputKeepsEverything) {
  run({1, 2});
  JobState state(path_);
  EXPECT_EQ(state.prepare(kSettings, true, std::nullopt).kept, 2);
  EXPECT_TRUE(state.done(row(1)));
  EXPECT_FALSE(state.done(row(3)));
}

TEST_F(JobStateTest, LinesThatPeopleTouched) {
  run({1, 2, 3});
  write_file(path_, line(3, 2) + "\n" + line(1, 0) + "\n" + line(1, 0) + "\nmine\n");
  EXPECT_THAT(run({1, 2, 3}), ElementsAre(2));
  EXPECT_THAT(output(), ElementsAre(line(3, 2), line(1, 0), line(2, 1)));
  EXPECT_THAT(lines_of(read_file(path_ + ".old")), UnorderedElementsAre(line(1, 0), "mine"));
}

TEST_F(JobStateTest, OtherSettingsAreRefusedByName) {
  run({1});
  const Json other = {{"model", "f00"}, {"sampling", {{"top_k", 2}}}};
  try {
    run({1}, nullptr, other);
    FAIL() << "not refused";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("(sampling.top_k was 1 and is 2)"));
  }
  EXPECT_THAT(output(), ElementsAre(line(1, 0)));
  EXPECT_THAT(run({1}, nullptr, other, false), ElementsAre(1));
  EXPECT_THAT(run({1}, nullptr, other), ElementsAre());
}

TEST_F(JobStateTest, SettingsAreCheckedAsFarAsTheyAreKnown) {
  run({1});
  JobState state(path_);
  state.check({{"model", "f00"}, {"kv_dtype", nullptr}}, true);
  state.check({{"model", "f11"}}, false);
  for (const Json& other : {Json{{"model", "f11"}}, Json{{"model", "f00"}, {"kv_dtype", "int8"}},
                            Json{{"purpose", "score"}}})
    EXPECT_THROW(state.check(other, true), UsageError) << other;
  EXPECT_THAT(output(), ElementsAre(line(1, 0)));
}

// Outputs of before weights stood among the settings: the model's fingerprint covers them.
TEST_F(JobStateTest, WeightsAreComparedWithTheModel) {
  run({1});
  Json settings = kSettings;
  settings["weights"] = "bf16";
  EXPECT_THAT(run({1}, nullptr, settings), ElementsAre());
}

TEST_F(JobStateTest, ForeignOutputIsRefused) {
  write_file(path_, "precious\n");
  EXPECT_THROW(run({1}), UsageError);
  EXPECT_EQ(read_file(path_), "precious\n");
  EXPECT_THAT(run({1}, nullptr, kSettings, false), ElementsAre(1));
}

TEST_F(JobStateTest, TwoRunsOnOneOutputAreRefused) {
  const JobState first(path_);
  EXPECT_THROW(JobState second(path_), UsageError);
}

TEST_F(JobStateTest, OutputBehindALinkStaysThere) {
  const std::string target = folder_.file("target.jsonl");
  write_file(target, "");
  std::filesystem::create_symlink(target, path_);
  run({1, 2});
  run({2});
  EXPECT_TRUE(std::filesystem::is_symlink(path_));
  EXPECT_THAT(lines_of(read_file(target)), ElementsAre(line(2, 0)));
}

TEST_F(JobStateTest, RowsThatAreKnownByTheirLineGetTheirPresentOne) {
  {
    JobState state(path_);
    state.prepare(kSettings, true, InputIndex{{row(1), {.index = 0, .numbered = 1}}});
    state.append({.row = row(1), .place = {.index = 0, .numbered = 1}}, line(1, 0));
  }
  JobState state(path_);
  EXPECT_EQ(state.prepare(kSettings, true, InputIndex{{row(1), {.index = 0, .numbered = 3}}}).kept,
            1);
  EXPECT_THAT(output(), ElementsAre(line(3, 0)));
}

TEST_F(JobStateTest, FilesThatSomebodyRemovesAreIoErrors) {
  for (const char* name : {"", ".state"}) {
    JobState state(path_);
    state.prepare(kSettings, false, input({1, 2}));
    state.append({.row = row(1), .place = {}}, line(1, 0));
    std::filesystem::remove(path_ + name);
    EXPECT_THROW(state.append({.row = row(2), .place = {}}, line(2, 1)), IoError) << name;
    EXPECT_THROW(state.sync(), IoError) << name;
  }
}

// Nothing is cut off because it could not be read.
TEST_F(JobStateTest, OutputThatCannotBeReadIsLeftAlone) {
#if defined(__has_feature)
#if __has_feature(undefined_behavior_sanitizer)
  GTEST_SKIP() << "the sanitizer opens pipes to look at memory";
#endif
#endif
  run({1, 2});
  const std::string before = read_file(path_);
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  for (rlim_t most = 3; most < 40; ++most) {
    const rlimit few{most, files.rlim_max};
    setrlimit(RLIMIT_NOFILE, &few);
    try {
      run({1, 2});
    } catch (const IoError&) {
    }
    setrlimit(RLIMIT_NOFILE, &files);
    ASSERT_EQ(read_file(path_), before) << most << " open files";
  }
}

TEST_F(JobStateTest, UnwritablePlacesAreIoErrors) {
  EXPECT_THROW(JobState(folder_.file("none/out.jsonl")), IoError);
}

}  // namespace
}  // namespace zerostream
