// Damaged and unsupported tokenizer.json files: an error that names the place, never a crash.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <string>
#include <vector>

#include "model/regex.h"
#include "model/tokenizer.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using testing::HasSubstr;

// The smallest tokenizer that encodes "ab".
Json tiny() {
  return Json::parse(R"({
    "added_tokens": [{"id": 3, "content": "<s>", "special": true, "normalized": false}],
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [3], "tokens": ["<s>"]}}},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})");
}

std::string problem(const Json& tokenizer) {
  try {
    make_tokenizer(tokenizer, Json(), "file");
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "none";
}

std::string problem_at(const char* pointer, const Json& value) {
  Json tokenizer = tiny();
  tokenizer[Json::json_pointer(pointer)] = value;
  return problem(tokenizer);
}

TEST(DamagedTokenizer, TheTinyOneWorks) {
  const auto tokenizer = make_tokenizer(tiny(), Json(), "file");
  EXPECT_EQ(tokenizer->encode("ab<s>", true), (std::vector<int32_t>{3, 2, 3}));
  EXPECT_EQ(tokenizer->vocab_size(), 4);
}

TEST(DamagedTokenizer, NamesThePlace) {
  EXPECT_THAT(problem(Json()), HasSubstr("must be an object"));
  EXPECT_THAT(problem(Json::array()), HasSubstr("must be an object"));
  EXPECT_THAT(problem_at("/model", nullptr), HasSubstr("file: model"));
  EXPECT_THAT(problem_at("/model/vocab", 3), HasSubstr("file: model.vocab"));
  EXPECT_THAT(problem_at("/model/vocab/a", "x"), HasSubstr("model.vocab[\"a\"]"));
  EXPECT_THAT(problem_at("/model/vocab/a", 2147483648u), HasSubstr("model.vocab[\"a\"]"));
  EXPECT_THAT(problem_at("/model/vocab/a", -1), HasSubstr("model.vocab[\"a\"]"));
  EXPECT_THAT(problem_at("/model/vocab/a", 1.5), HasSubstr("model.vocab[\"a\"]"));
  EXPECT_THAT(problem_at("/model/vocab/a", 1), HasSubstr("same id 1"));
  EXPECT_THAT(problem_at("/model/merges", "a b"), HasSubstr("model.merges"));
  EXPECT_THAT(problem_at("/model/merges/0", "a c"), HasSubstr("\"ac\" is not in the vocabulary"));
  EXPECT_THAT(problem_at("/model/merges/0", "b a"), HasSubstr("\"ba\" is not in the vocabulary"));
  EXPECT_THAT(problem_at("/model/merges/0", "a b c"), HasSubstr("model.merges[0]"));
  EXPECT_THAT(problem_at("/model/merges/0", Json::array({"a"})), HasSubstr("model.merges[0]"));
  EXPECT_THAT(problem_at("/model/dropout", 0.1), HasSubstr("model.dropout"));
  EXPECT_THAT(problem_at("/added_tokens/0/id", 4294967296u), HasSubstr("added_tokens[0].id"));
  EXPECT_THAT(problem_at("/added_tokens/0/content", 1), HasSubstr("added_tokens[0].content"));
  EXPECT_THAT(problem_at("/added_tokens/0/special", 1), HasSubstr("added_tokens[0].special"));
  EXPECT_THAT(problem_at("/post_processor/special_tokens", Json::object()), HasSubstr("<s>"));
}

TEST(DamagedTokenizer, NamesKindsThatAreNotSupported) {
  for (const char* part : {"/model", "/normalizer", "/pre_tokenizer", "/decoder"}) {
    EXPECT_THAT(problem_at((std::string(part) + "/type").c_str(), "Martian"),
                HasSubstr("\"Martian\" is not supported"));
  }
  EXPECT_THAT(problem_at("/post_processor/type", "Other"), HasSubstr("Other"));
}

TEST(DamagedTokenizer, NamesBadPatterns) {
  for (const char* pattern : {"(", "[a", "\\", "a{2}+", "[a[b]]", "[a&&b]", "\\p{Nonsense}"}) {
    const Json split = {
        {"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}};
    EXPECT_THAT(problem_at("/pre_tokenizer", split), HasSubstr("pre_tokenizer.pattern.Regex"))
        << pattern;
  }
}

TEST(DamagedTokenizer, APatternThatNeverEndsIsStopped) {
  const Regex regex("(a+)+\\1$", "pattern");
  EXPECT_THROW(regex.find_all(std::string(64, 'a') + "b"), UsageError);
}

// Every value of the file in turn becomes something else: it loads or is refused.
TEST(DamagedTokenizer, NoChangeCrashes) {
  const std::vector<Json> others = {nullptr,
                                    true,
                                    -1,
                                    4000000000u,
                                    0.5,
                                    "x",
                                    "",
                                    Json::array(),
                                    Json::object(),
                                    Json::array({1, "a"})};
  const Json flat = tiny().flatten();
  int refused = 0;
  std::vector<std::string> pointers;
  for (const auto& [pointer, value] : flat.items()) {
    for (std::string place = pointer; !place.empty(); place.resize(place.rfind('/'))) {
      pointers.push_back(place);
    }
  }
  for (const std::string& pointer : pointers) {
    for (const Json& other : others) {
      Json tokenizer = tiny();
      tokenizer[Json::json_pointer(pointer)] = other;
      try {
        const auto made = make_tokenizer(tokenizer, Json(), "file");
        made->decode(made->encode("ab <s> é", true), true);
      } catch (const Error&) {
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 100);
}

}  // namespace
}  // namespace zerostream
