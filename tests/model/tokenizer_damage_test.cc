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
  for (const char* pattern :
       {"(", "[a", "\\", "a{2}+", "[a[b]]", "[a&&b]", "(*ACCEPT)", "\\p{Nonsense}"}) {
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

// The smallest tokenizers of the other kinds, with a part of every kind that "tiny" lacks.
std::vector<Json> others() {
  Json words = tiny();
  words["normalizer"] = Json::parse(R"({"type": "Sequence", "normalizers": [
    {"type": "BertNormalizer", "clean_text": true, "strip_accents": null, "lowercase": true},
    {"type": "Strip", "strip_left": true, "strip_right": true}, {"type": "NFKD"}]})");
  words["pre_tokenizer"] = Json::parse(R"({"type": "Sequence", "pretokenizers": [
    {"type": "BertPreTokenizer"}, {"type": "FixedLength", "length": 3}, {"type": "UnicodeScripts"}]})");
  words["decoder"] = Json::parse(R"({"type": "WordPiece", "prefix": "##", "cleanup": true})");
  words["model"] = Json::parse(R"({"type": "WordPiece", "unk_token": "[UNK]",
    "continuing_subword_prefix": "##", "max_input_chars_per_word": 9,
    "vocab": {"a": 0, "##b": 1, "[UNK]": 2}})");
  Json unigram = tiny();
  unigram["normalizer"] = Json::parse(R"({"type": "Precompiled",
    "precompiled_charsmap": "CAAAAAABAIAAAQCAYQA="})");
  unigram["pre_tokenizer"] = Json::parse(R"({"type": "Metaspace", "replacement": "\u2581",
    "prepend_scheme": "first", "split": true})");
  unigram["decoder"] = Json::parse(R"({"type": "Sequence", "decoders": [
    {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": true},
    {"type": "BPEDecoder", "suffix": "</w>"},
    {"type": "Metaspace", "replacement": "\u2581", "add_prefix_space": true},
    {"type": "ByteFallback"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})");
  unigram["model"] = Json::parse(R"({"type": "Unigram", "unk_id": 0, "byte_fallback": true,
    "vocab": [["<unk>", 0.0], ["a", -1.5], ["ab", -2e-400]]})");
  Json bytes = tiny();
  bytes["model"] = Json::parse(R"({"type": "BPE", "unk_token": "<unk>", "fuse_unk": true,
    "byte_fallback": true, "continuing_subword_prefix": "##", "end_of_word_suffix": "</w>",
    "vocab": {"<unk>": 0, "a": 1, "##b</w>": 2, "ab</w>": 3}, "merges": [["a", "##b</w>"]]})");
  Json levels = tiny();
  levels["pre_tokenizer"] = {{"type", "Whitespace"}};
  levels["model"] = Json::parse(R"({"type": "WordLevel", "vocab": {"ab": 0, "<unk>": 1},
    "unk_token": "<unk>"})");
  return {words, unigram, bytes, levels};
}

TEST(DamagedTokenizer, OtherKindsNameThePlace) {
  const auto with = [](Json tokenizer, const char* pointer, const Json& value) {
    tokenizer[Json::json_pointer(pointer)] = value;
    return problem(tokenizer);
  };
  const std::vector<Json> kinds = others();
  for (const Json& kind : kinds) EXPECT_EQ(problem(kind), "none") << kind.dump();
  const Json &words = kinds[0], &unigram = kinds[1];
  EXPECT_THAT(with(words, "/pre_tokenizer/pretokenizers/1/length", 0), HasSubstr("[1].length"));
  EXPECT_THAT(with(words, "/model/max_input_chars_per_word", -1), HasSubstr("max_input_chars"));
  EXPECT_THAT(with(unigram, "/model/unk_id", 3), HasSubstr("model.unk_id"));
  EXPECT_THAT(with(unigram, "/model/vocab/1", Json::array({"a"})), HasSubstr("model.vocab[1]"));
  EXPECT_THAT(with(unigram, "/model/vocab/1", Json::array({"a", "b"})),
              HasSubstr("model.vocab[1]"));
  EXPECT_THAT(with(unigram, "/normalizer/precompiled_charsmap", "*"),
              HasSubstr("normalizer.precompiled_charsmap"));
  EXPECT_THAT(with(unigram, "/normalizer/precompiled_charsmap", "////////"),
              HasSubstr("normalizer.precompiled_charsmap"));
  EXPECT_THAT(with(unigram, "/pre_tokenizer/replacement", "xy"),
              HasSubstr("pre_tokenizer.replacement"));
  EXPECT_THAT(with(unigram, "/pre_tokenizer/prepend_scheme", "often"), HasSubstr("prepend_scheme"));
  EXPECT_THAT(with(unigram, "/decoder/decoders/1/suffix", ""), HasSubstr("decoders[1].suffix"));
}

// A map whose nodes point anywhere: at worst it replaces nothing.
TEST(DamagedTokenizer, NoChangedByteOfACharacterMapCrashes) {
  const std::string path = std::string(ZS_TEST_DATA) + "/tokenizers/t5.json";
  const Json good = read_json_file(path);
  const std::string encoded = good["normalizer"]["normalizers"][0]["precompiled_charsmap"];
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    Json damaged = good;
    std::string map = encoded;
    for (int i = 0; i < 5; ++i) map[random() % (map.size() - 2)] = "AQgw/+9z"[random() % 8];
    damaged["normalizer"]["normalizers"][0]["precompiled_charsmap"] = map;
    try {
      const auto tokenizer = make_tokenizer(damaged, Json(), "file");
      tokenizer->encode("A\u0301 \uFB01 \u00BD \u1100\u1161 \U0001D15E", false);
    } catch (const Error&) {
    }
  }
}

void change_everything(const Json& good, int& refused) {
  const std::vector<Json> values = {nullptr,
                                    true,
                                    -1,
                                    4000000000u,
                                    0.5,
                                    "x",
                                    "",
                                    Json::array(),
                                    Json::object(),
                                    Json::array({1, "a"})};
  const Json flat = good.flatten();
  std::vector<std::string> pointers;
  for (const auto& [pointer, value] : flat.items()) {
    for (std::string place = pointer; !place.empty(); place.resize(place.rfind('/'))) {
      pointers.push_back(place);
    }
  }
  for (const std::string& pointer : pointers) {
    for (const Json& value : values) {
      Json tokenizer = good;
      tokenizer[Json::json_pointer(pointer)] = value;
      try {
        const auto made = make_tokenizer(tokenizer, Json(), "file");
        made->decode(made->encode("ab <s> é", true), true);
      } catch (const Error&) {
        ++refused;
      }
    }
  }
}

TEST(DamagedTokenizer, PatternsAreSearchedWithinABudget) {
  const std::string text(100'000, 'a');
  EXPECT_THROW(Regex("a{0,400}a{0,400}b", "file").find_all(text + "cb"), UsageError);
  EXPECT_THROW(Regex("(a|aa)+$", "file").find_all(text + "b"), UsageError);
  EXPECT_EQ(Regex("(?:(?!b)\\S)+", "file").find_all(text + "b" + text).size(), 2u);
  EXPECT_EQ(Regex("b(?=a)", "file").find_all(text + "b" + text).size(), 1u);
}

TEST(DamagedTokenizer, RepeatsThatGiveNothingBackAreCounted) {
  const std::string text(1 << 20, 'a');
  for (const char* pattern :
       {"a++b", "a*+b", "(?>a+)b", "(?>(?:a+))b", "(?>a{1,})b", "(?=a+)[ab]b"})
    EXPECT_THROW(Regex(pattern, "file").find_all(text + "cb"), UsageError) << pattern;
  for (const char* pattern : {"a++", "(?>a+)", "(?=a+)a+", "a++b?", "[^\\s]++"})
    EXPECT_EQ(Regex(pattern, "file").find_all(text + " " + text + "b").size(), 2u) << pattern;
}

TEST(DamagedTokenizer, TextsGrowWithinBounds) {
  Json tokenizer = tiny();
  const Json twice = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}};
  tokenizer["normalizer"] = {{"type", "Sequence"}, {"normalizers", std::vector(40, twice)}};
  EXPECT_THROW(make_tokenizer(tokenizer, Json(), "file")->encode("a", false), UsageError);
  tokenizer["normalizer"]["normalizers"] = std::vector(10, twice);
  EXPECT_EQ(make_tokenizer(tokenizer, Json(), "file")->encode("a", false).size(), 1024u);
}

// Every value of the file in turn becomes something else: it loads or is refused.
TEST(DamagedTokenizer, NoChangeCrashes) {
  int refused = 0;
  change_everything(tiny(), refused);
  for (const Json& kind : others()) change_everything(kind, refused);
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace zerostream
