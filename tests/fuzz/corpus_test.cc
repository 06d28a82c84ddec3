// Runs every file of the corpora through its fuzz target, in little memory: what fuzzing has found
// stays fixed in builds without a fuzzer.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "tests/fuzz/fuzz_targets.h"
#include "tests/support/temp_dir.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr rlim_t kMostMemory = rlim_t{1} << 30;
constexpr double kMostSeconds = 5;

class CorpusTest : public testing::TestWithParam<FuzzTarget> {
 protected:
  static void SetUpTestSuite() {
    // Sanitizers take terabytes of addresses for themselves.
    rlim_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    if (pages > kMostMemory / 4096) return;
    const rlimit limit = {kMostMemory, kMostMemory};
    ASSERT_EQ(setrlimit(RLIMIT_AS, &limit), 0);
  }
};

TEST_P(CorpusTest, EveryInputIsReadOrRefused) {
  const std::filesystem::path folder = std::filesystem::path(ZS_FUZZ_CORPUS) / GetParam().name;
  int inputs = 0;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    SCOPED_TRACE(file.path().string());
    const std::string input = read_file(file.path().string());
    const auto begin = std::chrono::steady_clock::now();
    try {
      GetParam().run(input);
    } catch (const InternalError& error) {
      ADD_FAILURE() << error.what();
    } catch (const Error& error) {
      EXPECT_STRNE(error.what(), "");
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
    }
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    EXPECT_LT(taken.count(), kMostSeconds);
    ++inputs;
  }
  EXPECT_GT(inputs, 0);
}

INSTANTIATE_TEST_SUITE_P(Targets, CorpusTest, testing::ValuesIn(kFuzzTargets),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace zerostream
