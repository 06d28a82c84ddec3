#include "offload/result_writer.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "zerostream/error.h"

namespace zerostream {
namespace {

// Token n is the letter 'a' + n; 26 and above are special and print nothing.
class LetterTokenizer : public Tokenizer {
 public:
  std::vector<int32_t> encode(std::string_view, bool) const override { return {}; }
  std::string decode(std::span<const int32_t> ids, bool) const override {
    std::string text;
    for (const int32_t id : ids)
      if (id < 26) text += static_cast<char>('a' + id);
    return text;
  }
  int32_t vocab_size() const override { return 30; }
  std::optional<int32_t> token_to_id(std::string_view) const override { return {}; }
  std::string id_to_token(int32_t) const override { return {}; }
};

FinishedRow finished(int64_t index, std::vector<int32_t> ids, FinishReason reason) {
  FinishedRow row{
      .id = "r", .place = {.index = index}, .identity = {}, .prompt_tokens = 3, .result = {}};
  row.result.reason = reason;
  row.result.token_ids = std::move(ids);
  return row;
}

TEST(ResultLine, IsTheDocumentedRow) {
  const LetterTokenizer tokenizer;
  EXPECT_EQ(result_line(finished(4, {7, 8}, FinishReason::kLength), &tokenizer),
            R"({"id":"r","index":4,"text":"hi","token_ids":[7,8],"finish_reason":"length",)"
            R"("usage":{"prompt_tokens":3,"completion_tokens":2}})");
  EXPECT_EQ(result_line(finished(4, {7, 8}, FinishReason::kStop), nullptr),
            R"({"id":"r","index":4,"token_ids":[7,8],"finish_reason":"stop",)"
            R"("usage":{"prompt_tokens":3,"completion_tokens":2}})");
}

TEST(ResultLine, TextEndsAtStops) {
  const LetterTokenizer tokenizer;
  FinishedRow row = finished(0, {0, 1, 2, 3}, FinishReason::kStop);
  row.result.text_end = 2;
  EXPECT_EQ(Json::parse(result_line(row, &tokenizer))["text"], "ab");
  row = finished(0, {0, 1, 2}, FinishReason::kStop);
  row.result.ends_with_stop_token = true;
  EXPECT_EQ(Json::parse(result_line(row, &tokenizer))["text"], "ab");
  EXPECT_EQ(Json::parse(result_line(row, &tokenizer))["token_ids"], Json({0, 1, 2}));
}

TEST(ResultLine, OfScoredRows) {
  FinishedRow row = finished(4, {7, 8, 9}, FinishReason::kLength);
  row.result.purpose = Purpose::kScore;
  row.result.prompt_logprobs = {-0.5f, -1.5f};
  EXPECT_EQ(result_line(row, nullptr),
            R"({"id":"r","index":4,"token_ids":[7,8,9],"logprobs":[null,-0.5,-1.5],)"
            R"("sum_logprob":-2.0,"perplexity":2.718281828459045,"usage":{"prompt_tokens":3}})");
  row.result.token_ids = {7};
  row.result.prompt_logprobs.clear();
  EXPECT_EQ(result_line(row, nullptr),
            R"({"id":"r","index":4,"token_ids":[7],"logprobs":[null],)"
            R"("sum_logprob":0.0,"perplexity":null,"usage":{"prompt_tokens":1}})");
}

TEST(ResultLine, ErrorsAndLogprobs) {
  FinishedRow row = finished(1, {}, FinishReason::kError);
  row.result.error_code = "bad_value";
  row.result.error_message = "top_p: 2 is not";
  EXPECT_EQ(result_line(row, nullptr),
            R"({"id":"r","index":1,"token_ids":[],"finish_reason":"error",)"
            R"("usage":{"prompt_tokens":3,"completion_tokens":0},)"
            R"("error":{"code":"bad_value","message":"top_p: 2 is not"}})");
  const LetterTokenizer tokenizer;
  EXPECT_EQ(Json::parse(result_line(row, &tokenizer))["text"], "");
  row.result.purpose = Purpose::kScore;
  EXPECT_EQ(result_line(row, nullptr),
            R"({"id":"r","index":1,"finish_reason":"error",)"
            R"("error":{"code":"bad_value","message":"top_p: 2 is not"}})");
  row = finished(1, {5}, FinishReason::kLength);
  row.result.scores = {{.chosen = {5, -0.1f}, .top = {{5, -0.1f}, {6, -2.5f}}}};
  EXPECT_THAT(result_line(row, nullptr),
              testing::HasSubstr(
                  R"("logprobs":[{"token_id":5,"logprob":-0.1,"top":[[5,-0.1],[6,-2.5]]}])"));
}

TEST(ResultWriter, WritesInOrderAndCounts) {
  std::vector<int64_t> indices;
  ResultWriter writer(
      [&](const JobState::Entry& entry, std::string_view) { indices.push_back(entry.place.index); },
      nullptr, [] { FAIL(); });
  for (int64_t i = 0; i < 3000; ++i)
    writer.push(finished(i, {}, i % 3 == 0 ? FinishReason::kError : FinishReason::kStop));
  writer.finish();
  ASSERT_EQ(indices.size(), 3000u);
  for (int64_t i = 0; i < 3000; ++i) EXPECT_EQ(indices[i], i);
  EXPECT_EQ(writer.failed(), 1000);
  EXPECT_EQ(writer.ok(), 2000);
}

TEST(ResultWriter, FirstErrorIsKept) {
  int calls = 0;
  std::atomic<int> failures = 0;
  ResultWriter writer(
      [&](const JobState::Entry&, std::string_view) {
        if (++calls == 2) throw IoError("disk full", ENOSPC);
      },
      nullptr, [&] { ++failures; });
  for (int64_t i = 0; i < 3000; ++i) writer.push(finished(i, {}, FinishReason::kStop));
  EXPECT_THROW(writer.finish(), IoError);
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(failures, 1);
  EXPECT_EQ(writer.ok(), 1);
}

TEST(DescriptorSink, FullDiskIsAnIoError) {
  const int fd = open("/dev/full", O_WRONLY);
  ASSERT_GE(fd, 0);
  EXPECT_THROW(descriptor_sink(fd, "stdout")({}, "line"), IoError);
  close(fd);
}

}  // namespace
}  // namespace zerostream
