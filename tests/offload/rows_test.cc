#include "offload/rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A token per byte, after token 1.
class ByteTokenizer : public Tokenizer {
 public:
  std::vector<int32_t> encode(std::string_view text, bool add_special_tokens) const override {
    std::vector<int32_t> ids;
    if (add_special_tokens && special_) ids.push_back(1);
    for (const char byte : text) ids.push_back(static_cast<unsigned char>(byte));
    return ids;
  }
  std::string decode(std::span<const int32_t> ids, bool) const override {
    return {ids.begin(), ids.end()};
  }
  int32_t vocab_size() const override { return 256; }
  std::optional<int32_t> token_to_id(std::string_view) const override { return {}; }
  std::string id_to_token(int32_t) const override { return {}; }
  bool special_ = true;
};

class RowsTest : public testing::Test {
 protected:
  std::vector<InputRow> read(const std::string& text) {
    write_file(path_, text);
    RowReader reader(path_, stop_);
    std::vector<InputRow> rows;
    while (auto row = reader.next()) rows.push_back(std::move(*row));
    return rows;
  }
  GenerationRequest request(const std::string& line) {
    return make_request(read(line).at(0), context_);
  }
  // "code: message" of the error that the row ends in.
  std::string error(const std::string& line) {
    try {
      request(line);
    } catch (const RowError& error) {
      return error.code() + ": " + error.what();
    }
    return "no error";
  }

  TempDir folder_;
  std::string path_ = folder_.file("rows.jsonl");
  std::atomic<bool> stop_ = false;
  ByteTokenizer tokenizer_;
  RowContext context_{.tokenizer = &tokenizer_,
                      .vocab_size = 256,
                      .sampling = default_sampling(),
                      .eos_ids = {2, 3},
                      .model_context = 16};
};

TEST_F(RowsTest, ReadsLinesInEveryDress) {
  const auto rows = read(
      "\xef\xbb\xbf{\"id\": \"a\", \"prompt\": \"x\"}\r\n"
      "\r\n"
      "   \n"
      "{\"prompt\": \"y\"}\n"
      "{\"id\": 7, \"prompt\": \"z\"}");
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].id, "a");
  EXPECT_EQ(rows[1].id, 4);
  EXPECT_EQ(rows[2].id, 7);
  for (int64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(rows[i].index, i);
    EXPECT_FALSE(rows[i].error) << rows[i].error->what();
  }
  EXPECT_TRUE(read("").empty());
  EXPECT_TRUE(read("\n\n\xef\xbb\xbf").empty());
}

TEST_F(RowsTest, LinesLongerThanTheBufferStayWhole) {
  const std::string prompt(3'000'000, 'p');
  const auto rows = read("{\"prompt\": \"" + prompt + "\"}\n{\"prompt\": \"q\"}\n");
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].fields["prompt"], prompt);
  EXPECT_EQ(rows[1].fields["prompt"], "q");
}

TEST_F(RowsTest, BadRowsAreRowsWithErrors) {
  const auto rows = read(
      "{\"prompt\": \n"
      "[1]\n"
      "{\"id\": 1.5, \"prompt\": \"\"}\n"
      "{\"id\": \"a\", \"prompt\": \"\xff\"}\n"
      "{\"prompt\": \"x\", \"prompt\": \"y\"}\n"
      "{\"id\": \"a\", \"prompt\": \"x\"}\n"
      "{\"id\": \"a\", \"prompt\": \"y\"}\n" +
      std::string(LineReader::kMostLineBytes + 1, ' ') + "\n{\"prompt\": \"last\"}");
  ASSERT_EQ(rows.size(), 9u);
  const char* codes[] = {"bad_json", "bad_json",     "bad_value",     "bad_json", "bad_json",
                         "",         "duplicate_id", "line_too_long", ""};
  for (size_t i = 0; i < rows.size(); ++i)
    EXPECT_EQ(rows[i].error ? rows[i].error->code() : "", codes[i]) << i;
  EXPECT_THAT(rows[0].error->what(), HasSubstr("rows.jsonl:1: invalid JSON"));
  EXPECT_EQ(rows[0].id, 1);
  EXPECT_EQ(rows[6].id, "a");
}

TEST_F(RowsTest, IdsOfOtherTypesDiffer) {
  const auto rows = read("{\"id\": 2, \"prompt\": \"a\"}\n{\"id\": \"2\", \"prompt\": \"a\"}\n");
  EXPECT_FALSE(rows[1].error);
  EXPECT_NE(rows[0].identity, rows[1].identity);
  EXPECT_EQ(read("{\"id\": 2, \"prompt\": \"a\"}\n{\"prompt\": \"b\"}")[1].error->code(),
            "duplicate_id");
}

TEST_F(RowsTest, IdentityIsContentAndId) {
  const auto identity = [&](const std::string& line) { return read(line).at(0).identity; };
  const RowIdentity one = identity(R"({"id": "a", "prompt": "x", "top_k": 3})");
  EXPECT_EQ(identity(R"({ "top_k":3, "prompt":"\u0078", "id":"a" })"), one);
  EXPECT_NE(identity(R"({"id": "a", "prompt": "x", "top_k": 4})"), one);
  EXPECT_NE(identity(R"({"id": "b", "prompt": "x", "top_k": 3})"), one);
}

TEST_F(RowsTest, RowsWithoutIdKeepTheirIdentityAndSeedWhereverTheyStand) {
  const std::string x = "{\"prompt\": \"x\"}\n", y = "{\"prompt\": \"y\"}\n";
  const auto before = read(x + x + y), after = read("\n" + y + x + "\n" + x);
  const std::pair<size_t, size_t> same[] = {{0, 1}, {1, 2}, {2, 0}};
  for (const auto& [old_place, new_place] : same) {
    EXPECT_EQ(before[old_place].identity, after[new_place].identity);
    EXPECT_EQ(make_request(before[old_place], context_).seed,
              make_request(after[new_place], context_).seed);
  }
  EXPECT_NE(before[0].identity, before[1].identity) << "each of two equal rows is answered";
  EXPECT_NE(make_request(before[0], context_).seed, make_request(before[1], context_).seed);
  EXPECT_EQ(after[2].id, 5);
  EXPECT_EQ(after[2].numbered, 5);
  EXPECT_EQ(read("{\"id\": 1, \"prompt\": \"x\"}")[0].numbered, 0);
}

TEST_F(RowsTest, MakesRequests) {
  const GenerationRequest plain = request(R"({"id": "a", "prompt": "hi"})");
  EXPECT_THAT(plain.prompt_tokens, ElementsAre(1, 'h', 'i'));
  EXPECT_THAT(plain.stop_token_ids, ElementsAre(2, 3));
  EXPECT_EQ(plain.sampling.logprobs, -1);
  EXPECT_EQ(plain.max_new_tokens, 13);  // cut to the context

  const GenerationRequest rich = request(
      R"({"prompt_token_ids": [0, 255], "max_tokens": 4, "temperature": 0.5, "top_k": 9, )"
      R"("top_p": 0.25, "min_p": 0.125, "repetition_penalty": 2, "seed": 5, "stop": "end", )"
      R"("ignore_eos": true, "logprobs": 2, "stop_token_ids": [7], "min_new_tokens": 1, )"
      R"("presence_penalty": 1, "frequency_penalty": -1})");
  EXPECT_THAT(rich.prompt_tokens, ElementsAre(0, 255));
  EXPECT_EQ(rich.max_new_tokens, 4);
  EXPECT_EQ(rich.min_new_tokens, 1);
  EXPECT_EQ(rich.sampling.temperature, 0.5f);
  EXPECT_EQ(rich.sampling.top_k, 9);
  EXPECT_EQ(rich.sampling.top_p, 0.25f);
  EXPECT_EQ(rich.sampling.min_p, 0.125f);
  EXPECT_EQ(rich.sampling.repetition_penalty, 2.0f);
  EXPECT_EQ(rich.sampling.presence_penalty, 1.0f);
  EXPECT_EQ(rich.sampling.frequency_penalty, -1.0f);
  EXPECT_EQ(rich.sampling.logprobs, 2);
  EXPECT_THAT(rich.stop_strings, ElementsAre("end"));
  EXPECT_THAT(rich.stop_token_ids, ElementsAre(7));
}

TEST_F(RowsTest, SeedComesFromSeedAndId) {
  const auto seed = [&](const std::string& line) { return request(line).seed; };
  const uint64_t a = seed(R"({"id": "a", "prompt": "x"})");
  EXPECT_EQ(seed(R"({"id": "a", "prompt": "y", "temperature": 1})"), a);
  EXPECT_NE(seed(R"({"id": "b", "prompt": "x"})"), a);
  EXPECT_NE(seed(R"({"id": "a", "prompt": "x", "seed": 1})"), a);
  EXPECT_EQ(seed(R"({"id": "a", "prompt": "x", "seed": 0})"), a);
  context_.sampling.seed = 1;
  EXPECT_NE(seed(R"({"id": "a", "prompt": "x"})"), a);
}

TEST_F(RowsTest, ErrorsNameWhatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"promt": "x"})", "unknown_field: unknown field \"promt\"; did you mean \"prompt\"?"},
      {R"({"prompt": "x", "max_token": 2})", "did you mean \"max_tokens\"?"},
      {R"({"id": 1})", "bad_value: neither prompt nor prompt_token_ids"},
      {R"({"prompt": "x", "prompt_token_ids": [1]})", "are both given"},
      {R"({"prompt": 5})", "prompt: 5 is not a string"},
      {R"({"prompt_token_ids": []})", "empty_prompt"},
      {R"({"prompt_token_ids": "1"})", "prompt_token_ids: \"1\" is not a list of token ids"},
      {R"({"prompt_token_ids": [1.0]})", "is not a list of token ids"},
      {R"({"prompt_token_ids": [-1]})", "bad_value"},
      {R"({"prompt_token_ids": [256]})", "token_out_of_range: prompt: id 256 is not below"},
      {R"({"prompt": "x", "stop_token_ids": [256]})", "token_out_of_range: stop_token_ids"},
      {R"({"prompt": "x", "temperature": -1})", "temperature: -1 is not a number from 0"},
      {R"({"prompt": "x", "top_p": 0})", "top_p: 0 is not"},
      {R"({"prompt": "x", "max_tokens": 0})", "max_tokens: 0 is not an integer from 1"},
      {R"({"prompt": "x", "max_tokens": 1, "max_new_tokens": 1})", "give one"},
      {R"({"prompt": "x", "stop": [""]})", "stop: [\"\"] is not a string or a list"},
      {R"({"prompt": "x", "logprobs": 21})", "logprobs: 21 is not"}};
  for (const auto& [line, message] : cases) EXPECT_THAT(error(line), HasSubstr(message)) << line;
}

TEST_F(RowsTest, EmptyTextIsAPromptWhereTheTokenizerAddsTokens) {
  EXPECT_THAT(request(R"({"prompt": ""})").prompt_tokens, ElementsAre(1));
  tokenizer_.special_ = false;
  EXPECT_THAT(error(R"({"prompt": ""})"), HasSubstr("empty_prompt"));
}

TEST_F(RowsTest, WithoutTokenizerOnlyIdsWork) {
  context_.tokenizer = nullptr;
  EXPECT_EQ(request(R"({"prompt_token_ids": [4]})").prompt_tokens.size(), 1u);
  EXPECT_THAT(error(R"({"prompt": "x"})"), HasSubstr("no_tokenizer"));
  EXPECT_THAT(error(R"({"prompt_token_ids": [4], "stop": "x"})"), HasSubstr("no_tokenizer"));
}

TEST_F(RowsTest, OverLength) {
  const std::string fifteen = R"({"prompt": "abcdefghijklmn"})";  // 15 tokens with the first
  const std::string sixteen = R"({"prompt": "abcdefghijklmno", "max_tokens": 6})";
  EXPECT_EQ(request(fifteen).max_new_tokens, 1);
  EXPECT_THAT(error(sixteen), HasSubstr("too_long: the prompt has 16 tokens; the model's context "
                                        "of 16"));
  context_.over_length = OverLength::kTruncate;
  EXPECT_EQ(request(fifteen).prompt_tokens.size(), 15u);
  const GenerationRequest cut = request(sixteen);
  EXPECT_THAT(cut.prompt_tokens, ElementsAre('f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o'));
  EXPECT_EQ(cut.max_new_tokens, 6);
  const GenerationRequest half = request(R"({"prompt": "abcdefghijklmno", "max_tokens": 60})");
  EXPECT_EQ(half.prompt_tokens.size(), 8u);
  EXPECT_EQ(half.max_new_tokens, 8);
}

TEST_F(RowsTest, MemoryNeverCutsAText) {
  context_.memory_context = 8;
  EXPECT_THAT(error(R"({"prompt": "abcd", "max_tokens": 4})"),
              HasSubstr("9 tokens; the KV memory of this run holds 8"));
  EXPECT_EQ(request(R"({"prompt": "abcd", "max_tokens": 3})").max_new_tokens, 3);
}

TEST_F(RowsTest, UnreadableInputIsAnIoError) {
  EXPECT_THROW(RowReader(folder_.file("none"), stop_), IoError);
  EXPECT_THROW(RowReader(folder_.path().string(), stop_), IoError);
}

TEST(GenerationConfig, CountsOnlyWhenSampling) {
  std::vector<std::string> ignored;
  const auto read = [&](const char* text) {
    return generation_config_sampling(Json::parse(text), "g.json", &ignored);
  };
  const auto greedy = read(R"({"temperature": 0.6, "top_p": 0.9, "repetition_penalty": 1.1})");
  EXPECT_EQ(greedy.temperature, 0);
  EXPECT_EQ(greedy.top_p, std::nullopt);
  EXPECT_EQ(greedy.repetition_penalty, 1.1);
  const auto sampled = read(R"({"do_sample": true, "top_p": 0.9, "max_new_tokens": 9})");
  EXPECT_EQ(sampled.temperature, 1);
  EXPECT_EQ(sampled.top_p, 0.9);
  EXPECT_EQ(sampled.max_new_tokens, 9);
  EXPECT_THROW(read(R"({"do_sample": true, "top_p": 9})"), CheckpointError);
  EXPECT_TRUE(ignored.empty());
  read(R"({"num_beams": 1, "no_repeat_ngram_size": 3, "suppress_tokens": []})");
  EXPECT_THAT(ignored, ElementsAre("no_repeat_ngram_size"));
}

TEST(SamplingSettings, FirstPlaceThatSpeaksCounts) {
  SamplingSettings row, file;
  row.top_k = 3;
  file.top_k = 5;
  file.min_p = 0.5;
  const auto merged = merge_sampling(row, merge_sampling(file, default_sampling()));
  EXPECT_EQ(merged.top_k, 3);
  EXPECT_EQ(merged.min_p, 0.5);
  EXPECT_EQ(merged.max_new_tokens, 64);
  EXPECT_EQ(sampling_json(merged).size(), sampling_names().size());
}

TEST_F(RowsTest, RowsToScore) {
  context_.purpose = Purpose::kScore;
  context_.memory_context = 12;
  for (const char* line :
       {R"({"text": "ab"})", R"({"prompt": "ab"})", R"({"token_ids": [1, 97, 98]})",
        R"({"prompt_token_ids": [1, 97, 98]})"}) {
    const GenerationRequest scored = request(line);
    EXPECT_EQ(scored.purpose, Purpose::kScore);
    EXPECT_THAT(scored.prompt_tokens, ElementsAre(1, 97, 98));
    EXPECT_EQ(scored.max_new_tokens, 0);
  }
  EXPECT_EQ(error(R"({"text": "", "id": 1})"), "no error");  // the special token alone
  EXPECT_THAT(error(R"({"token_ids": []})"), HasSubstr("empty_prompt"));
  EXPECT_THAT(error(R"({"token_ids": [256]})"), HasSubstr("token_out_of_range"));
  EXPECT_THAT(error(R"({"text": "a", "prompt": "a"})"), HasSubstr("bad_value"));
  EXPECT_THAT(error(R"({"text": "a", "token_ids": [1]})"), HasSubstr("are both given"));
  EXPECT_THAT(error("{}"), HasSubstr("neither text nor token_ids is given"));
  EXPECT_THAT(error(R"({"text": "a", "max_tokens": 1})"), HasSubstr("unknown_field"));
  EXPECT_THAT(error(R"({"txt": "a"})"), HasSubstr("did you mean \"text\""));
  EXPECT_THAT(error(R"({"text": "abcdefghijkl"})"), HasSubstr("KV memory of this run holds 12"));
}

TEST_F(RowsTest, RowsToScoreMayFillTheContext) {
  context_.purpose = Purpose::kScore;
  EXPECT_EQ(request(R"({"text": "abcdefghijklmno"})").prompt_tokens.size(), 16u);
  EXPECT_THAT(error(R"({"text": "abcdefghijklmnop"})"), HasSubstr("too_long: the row has 17"));
  context_.over_length = OverLength::kTruncate;
  const std::vector<int32_t> kept = request(R"({"text": "abcdefghijklmnop"})").prompt_tokens;
  EXPECT_EQ(kept.size(), 16u);
  EXPECT_EQ(kept.front(), 'a');
  EXPECT_EQ(kept.back(), 'p');
}

}  // namespace
}  // namespace zerostream
