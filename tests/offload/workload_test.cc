#include "offload/workload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "offload/rows.h"
#include "tests/support/temp_dir.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

// A token for every two bytes.
class PairTokenizer : public Tokenizer {
 public:
  std::vector<int32_t> encode(std::string_view text, bool) const override {
    ++encoded;
    return std::vector<int32_t>((text.size() + 1) / 2, 1);
  }
  std::string decode(std::span<const int32_t>, bool) const override { return {}; }
  int32_t vocab_size() const override { return 256; }
  std::optional<int32_t> token_to_id(std::string_view) const override { return {}; }
  std::string id_to_token(int32_t) const override { return {}; }
  mutable int encoded = 0;
};

class WorkloadTest : public testing::Test {
 protected:
  WorkloadTest() {
    context_.sampling = default_sampling();
    context_.sampling.max_new_tokens = 10;
  }
  Workload measure(const std::string& text) {
    write_file(path_, text);
    return measure_workload(path_, context_, stop_);
  }
  static std::string row(size_t bytes, const std::string& more = "") {
    return "{\"prompt\": \"" + std::string(bytes, 'x') + "\"" + more + "}\n";
  }

  TempDir folder_;
  std::string path_ = folder_.file("rows.jsonl");
  std::atomic<bool> stop_ = false;
  PairTokenizer tokenizer_;
  RowContext context_{.tokenizer = &tokenizer_, .vocab_size = 256, .model_context = 5000};
};

TEST_F(WorkloadTest, FewRowsAreMeasuredExactly) {
  const Workload workload =
      measure(row(20) + row(60, ", \"max_tokens\": 50") + "\nnonsense\n" +
              R"({"prompt_token_ids": [1, 2, 3, 4, 5]})" + "\n" + row(4, ", \"top_pp\": 1"));
  EXPECT_EQ(workload.rows, 3);
  EXPECT_DOUBLE_EQ(workload.mean_prompt_tokens, (10 + 30 + 5) / 3.0);
  EXPECT_DOUBLE_EQ(workload.mean_new_tokens, (10 + 50 + 10) / 3.0);
  EXPECT_EQ(workload.longest_prompt_tokens, 30);
  EXPECT_EQ(workload.longest_row_tokens, 80);
}

TEST_F(WorkloadTest, ManyRowsAreSampledButTheLongestIsNeverMissed) {
  std::string text;
  for (int i = 0; i < 20000; ++i)
    text += i == 12347 ? row(3000, ", \"max_new_tokens\": 700") : row(40 + i % 2 * 80);
  const Workload workload = measure(text);
  EXPECT_EQ(workload.rows, 20000);
  EXPECT_LT(tokenizer_.encoded, 8000);
  EXPECT_GE(workload.longest_prompt_tokens, 1500);
  EXPECT_GE(workload.longest_row_tokens, 2200);
  EXPECT_LE(workload.longest_row_tokens, 5000);
  EXPECT_NEAR(workload.mean_new_tokens, 10, 1e-9);
}

TEST_F(WorkloadTest, NoRowIsLongerThanTheModelsContext) {
  context_.over_length = OverLength::kTruncate;
  EXPECT_LE(measure(row(50000)).longest_row_tokens, 5000);
  context_.over_length = OverLength::kError;
  EXPECT_EQ(measure(row(50000)).rows, 0);
}

// To a plan, the last token of a row to score is its output.
TEST_F(WorkloadTest, RowsToScoreGenerateNothing) {
  context_.purpose = Purpose::kScore;
  const Workload workload =
      measure(row(20) + "{\"text\": \"abcd\"}\n{\"token_ids\": [1]}\n" + row(4, ", \"top_p\": 1"));
  EXPECT_TRUE(workload.scored);
  EXPECT_EQ(workload.rows, 3);
  EXPECT_DOUBLE_EQ(workload.mean_prompt_tokens, (9 + 1 + 1) / 3.0);
  EXPECT_DOUBLE_EQ(workload.mean_new_tokens, 1);
  EXPECT_EQ(workload.longest_row_tokens, 10);
}

TEST_F(WorkloadTest, EqualRowsAreTakenAsARunTakesThem) {
  Workload workload = equal_rows(5, 4999, 10, context_);
  EXPECT_EQ(workload.rows, 5);
  EXPECT_EQ(workload.longest_prompt_tokens, 4999);
  EXPECT_EQ(workload.longest_row_tokens, 5000);
  EXPECT_EQ(workload.mean_new_tokens, 1);
  workload = equal_rows(0, 100, 20, context_);
  EXPECT_EQ(workload.mean_prompt_tokens, 100);
  EXPECT_EQ(workload.longest_row_tokens, 120);
  try {
    equal_rows(5, 5000, 10, context_);
    FAIL() << "accepted";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("the model's context of 5000"));
  }
  context_.over_length = OverLength::kTruncate;
  EXPECT_EQ(equal_rows(5, 9000, 10, context_).longest_prompt_tokens, 4990);
  EXPECT_EQ(equal_rows(5, 9000, 4000, context_).longest_prompt_tokens, 2500);
  EXPECT_EQ(equal_rows(5, 9000, 4000, context_).longest_row_tokens, 5000);
}

TEST_F(WorkloadTest, AnEmptyOrMissingFile) {
  EXPECT_EQ(measure("").rows, 0);
  EXPECT_EQ(measure("").longest_row_tokens, 0);
  EXPECT_THROW(measure_workload(folder_.file("none"), context_, stop_), IoError);
}

}  // namespace
}  // namespace zerostream
