#include "offload/batch_job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>

#include "tests/support/temp_dir.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

// Answers each request with its prompt, `width` requests in flight, one pass each.
void echo(const GenerationClient& client, const std::atomic<bool>& stop, size_t width) {
  std::deque<GenerationRequest> rows;
  RunStatistics statistics;
  while (!stop) {
    while (rows.size() < width) {
      auto request = client.next(rows.empty());
      if (!request) break;
      rows.push_back(std::move(*request));
    }
    if (rows.empty()) return;
    GenerationResult result;
    result.handle = rows.front().handle;
    result.token_ids = rows.front().prompt_tokens;
    client.on_result(std::move(result));
    rows.pop_front();
    client.on_pass(statistics);
  }
}

class RunRowsTest : public testing::Test {
 protected:
  RunRowsTest() {
    job_.input = input_;
    job_.context.vocab_size = 5000;
    job_.context.sampling = default_sampling();
    job_.done = [](const RowIdentity&) { return false; };
    job_.sink = [this](const JobState::Entry&, std::string_view line) {
      lines_.push_back(Json::parse(line));
    };
    job_.on_pass = [](int64_t, const RunStatistics&) {};
  }
  void write_rows(int count) {
    std::string text;
    for (int i = 0; i < count; ++i)
      text += R"({"prompt_token_ids": [)" + std::to_string(i) + "]}\n";
    write_file(input_, text);
  }
  RowCounts run(size_t width = 4) {
    return run_rows(job_, {[&](const GenerationClient& client, const std::atomic<bool>& stop) {
                      echo(client, stop, width);
                    }},
                    stop_);
  }

  TempDir folder_;
  std::string input_ = folder_.file("in.jsonl");
  std::atomic<bool> stop_ = false;
  RowJob job_;
  std::vector<Json> lines_;
};

TEST_F(RunRowsTest, EveryRowIsAnsweredOnce) {
  constexpr int kRows = 3000;  // more than the queues hold
  write_rows(kRows);
  const RowCounts counts = run();
  EXPECT_EQ(counts.ok, kRows);
  EXPECT_EQ(counts.failed, 0);
  ASSERT_EQ(lines_.size(), size_t{kRows});
  std::vector<bool> seen(kRows);
  for (const Json& line : lines_) {
    const int index = line["index"];
    EXPECT_FALSE(seen[index]);
    seen[index] = true;
    EXPECT_EQ(line["token_ids"], Json::array({index}));
    EXPECT_EQ(line["id"], index + 1);
  }
}

TEST_F(RunRowsTest, BadRowsEndInErrorsAndOthersGoOn) {
  write_file(input_,
             "{\"id\": \"a\", \"prompt_token_ids\": [1]}\n{nonsense\n"
             "{\"id\": \"b\", \"prompt\": \"text\"}\n{\"id\": \"c\", \"prompt_token_ids\": [2]}\n");
  const RowCounts counts = run();
  EXPECT_EQ(counts.ok, 2);
  EXPECT_EQ(counts.failed, 2);
  std::vector<std::string> ends;
  for (const Json& line : lines_)
    ends.push_back(line["id"].dump() + " " +
                   (line.contains("error") ? line["error"]["code"].get<std::string>() : "ok"));
  EXPECT_THAT(ends,
              UnorderedElementsAre("\"a\" ok", "2 bad_json", "\"b\" no_tokenizer", "\"c\" ok"));
}

TEST_F(RunRowsTest, DoneRowsAreLeftOut) {
  write_rows(10);
  int asked = 0;
  job_.done = [&](const RowIdentity&) { return ++asked % 2 == 0; };
  EXPECT_EQ(run().ok, 5);
}

TEST_F(RunRowsTest, StopEndsSoonAndKeepsWhatIsDone) {
  write_rows(100);
  int passes = 0;
  job_.on_pass = [&](int64_t, const RunStatistics&) {
    if (++passes == 3) stop_ = true;
  };
  EXPECT_EQ(run().ok, 4);  // the third pass sees the flag, the fourth is under way
  EXPECT_EQ(lines_.size(), 4u);
}

TEST_F(RunRowsTest, ErrorsOfTheOutputEndTheJob) {
  write_rows(5000);
  job_.sink = [](const JobState::Entry&, std::string_view) { throw IoError("disk full", ENOSPC); };
  EXPECT_THROW(run(), IoError);
}

TEST_F(RunRowsTest, ErrorsOfTheGeneratorKeepWhatIsDone) {
  write_rows(10);
  const TokenSource tokens{[&](const GenerationClient& client, const std::atomic<bool>&) {
    GenerationResult result;
    result.handle = client.next(true)->handle;
    client.on_result(std::move(result));
    throw IoError("read failed", EIO);
  }};
  EXPECT_THROW(run_rows(job_, tokens, stop_), IoError);
  EXPECT_EQ(lines_.size(), 1u);
}

TEST_F(RunRowsTest, EmptyInputIsDone) {
  write_rows(0);
  EXPECT_EQ(run().ok, 0);
}

}  // namespace
}  // namespace zerostream
