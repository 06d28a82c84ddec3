// Tokenizers against what Hugging Face makes of the same texts (tests/golden/tokenizers).
#include "model/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/temp_dir.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using Ids = std::vector<int32_t>;

std::string golden(const std::string& name) {
  return std::string(ZS_TEST_DATA) + "/tokenizers/" + name;
}

std::string stream(const Tokenizer& tokenizer, const Ids& ids, bool skip_special_tokens) {
  StreamDecoder decoder(tokenizer, skip_special_tokens);
  std::string text;
  for (const int32_t id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

class GoldenTokenizer : public testing::TestWithParam<const char*> {
 protected:
  const std::string name_ = GetParam();
  const std::unique_ptr<Tokenizer> tokenizer_ = load_tokenizer(golden(name_ + ".json"));
  const Json cases_ = read_json_file(golden(name_ + ".cases.json"));
};

INSTANTIATE_TEST_SUITE_P(Kinds, GoldenTokenizer,
                         testing::Values("gpt2", "gpt2_prefix", "llama3", "qwen2", "smollm",
                                         "bos_eos", "llama2", "llama2_legacy", "gemma",
                                         "metaspace_words", "t5", "xlm_roberta", "albert",
                                         "scripts", "bert_uncased", "bert_cased", "word_level",
                                         "end_of_word", "continuing", "recogniser", "falcon"),
                         [](const auto& info) { return std::string(info.param); });

// Rows: ids with special tokens, without, their text, the text without special tokens.
void expect_texts(const Tokenizer& tokenizer, const Json& cases) {
  const Json texts = read_json_file(golden(cases.value("file", "texts.json")));
  ASSERT_EQ(texts.size(), cases["texts"].size());
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string text = texts[i];
    SCOPED_TRACE("text " + std::to_string(i) + ": " + text);
    const Json& row = cases["texts"][i];
    const Ids with = row[0].get<Ids>();
    const Ids without = row[1].is_null() ? with : row[1].get<Ids>();
    const std::string decoded = row[2].is_null() ? text : row[2].get<std::string>();
    const std::string skipped = row[3].is_null() ? decoded : row[3].get<std::string>();
    EXPECT_EQ(tokenizer.encode(text, true), with);
    EXPECT_EQ(tokenizer.encode(text, false), without);
    EXPECT_EQ(tokenizer.decode(with, false), decoded);
    EXPECT_EQ(tokenizer.decode(with, true), skipped);
    EXPECT_EQ(stream(tokenizer, with, false), decoded);
    EXPECT_EQ(stream(tokenizer, with, true), skipped);
  }
}

TEST_P(GoldenTokenizer, EncodesAndDecodesTexts) { expect_texts(*tokenizer_, cases_); }

// Folders without a tokenizer.json.
class GoldenFolder : public testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(Files, GoldenFolder,
                         testing::Values("llama", "llama_legacy", "gemma", "t5", "plain", "opt",
                                         "gpt2", "qwen2", "bert"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(GoldenFolder, IsWhatTransformersMakesOfIt) {
  const std::string folder = golden(std::string("folders/") + GetParam());
  expect_texts(*load_tokenizer(folder), read_json_file(folder + "/cases.json"));
}

TEST_P(GoldenTokenizer, DecodesRandomIds) {
  for (const Json& row : cases_["ids"]) {
    const Ids ids = row[0].get<Ids>();
    SCOPED_TRACE("ids " + row[0].dump());
    EXPECT_EQ(tokenizer_->decode(ids, false), row[1].get<std::string>());
    EXPECT_EQ(tokenizer_->decode(ids, true), row[2].get<std::string>());
    EXPECT_EQ(stream(*tokenizer_, ids, false), row[1].get<std::string>());
    EXPECT_EQ(stream(*tokenizer_, ids, true), row[2].get<std::string>());
  }
}

TEST_P(GoldenTokenizer, KnowsItsTokens) {
  EXPECT_FALSE(tokenizer_->token_to_id("no such token").has_value());
  for (int32_t id = 0; id < tokenizer_->vocab_size(); ++id) {
    EXPECT_FALSE(tokenizer_->id_to_token(id).empty()) << id;
  }
}

TEST(Tokenizer, FindsTokensByText) {
  const auto tokenizer = load_tokenizer(golden("gpt2.json"));
  const int32_t end = tokenizer->token_to_id("<|endoftext|>").value();
  EXPECT_EQ(tokenizer->id_to_token(end), "<|endoftext|>");
}

TEST(Tokenizer, RefusesIdsOutOfTheVocabulary) {
  const auto tokenizer = load_tokenizer(golden("gpt2.json"));
  EXPECT_THROW(tokenizer->decode(Ids{tokenizer->vocab_size()}, false), UsageError);
  EXPECT_THROW(tokenizer->decode(Ids{-1}, false), UsageError);
  EXPECT_THROW(tokenizer->id_to_token(1 << 30), UsageError);
}

TEST(Tokenizer, NamesTheOffsetOfInvalidUtf8) {
  const auto tokenizer = load_tokenizer(golden("gpt2.json"));
  for (const char* text : {"abc\xFF", "abc\xC0\x80", "abc\xED\xA0\x80", "abc\xF0\x9F\x99"}) {
    try {
      tokenizer->encode(text, false);
      FAIL() << "encoded invalid UTF-8";
    } catch (const UsageError& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr("byte 3"));
    }
  }
}

// Each would take minutes if its cost grew with the square of the length.
TEST(Tokenizer, LongTextsTakeLinearTime) {
  for (const char* name :
       {"gpt2.json", "llama3.json", "qwen2.json", "smollm.json", "llama2.json",
        "llama2_legacy.json", "gemma.json", "t5.json", "xlm_roberta.json", "bert_uncased.json"}) {
    const auto tokenizer = load_tokenizer(golden(name));
    for (const char* unit : {"a", " ", "\n", "\r\n ", "1", "=", "é", "e\u0301", "<", "'"}) {
      std::string text;
      while (text.size() < 100'000) text += unit;
      const Ids ids = tokenizer->encode(text, false);
      EXPECT_LE(ids.size(), text.size() + 1) << name << unit;
      EXPECT_LE(tokenizer->decode(ids, false).size(), 3 * text.size()) << name << unit;
    }
  }
}

TEST(StreamDecoder, HoldsBackHalfACharacter) {
  const auto tokenizer = load_tokenizer(golden("gpt2.json"));
  const Ids ids = tokenizer->encode("\U0001F9FF!", false);
  ASSERT_EQ(ids.size(), 4u);  // the character takes three
  StreamDecoder decoder(*tokenizer, false);
  EXPECT_EQ(decoder.push(ids[0]), "");
  EXPECT_EQ(decoder.push(ids[1]), "");
  EXPECT_EQ(decoder.push(ids[2]), "\U0001F9FF");
  EXPECT_EQ(decoder.push(ids[3]), "!");
  EXPECT_EQ(decoder.finish(), "");
}

TEST(StreamDecoder, HoldsBackHalfACharacterOfByteTokens) {
  const auto tokenizer = load_tokenizer(golden("llama2.json"));
  const Ids ids = tokenizer->encode("\U0001F9FF!", false);
  ASSERT_GE(ids.size(), 5u);  // four bytes at least
  StreamDecoder decoder(*tokenizer, false);
  std::string text;
  for (const int32_t id : ids) {
    const std::string piece = decoder.push(id);
    EXPECT_EQ(piece.find("\uFFFD"), std::string::npos);
    text += piece;
  }
  EXPECT_EQ(text + decoder.finish(), tokenizer->decode(ids, false));
}

TEST(StreamDecoder, GivesWhatWasHeldBackAtTheEnd) {
  const auto tokenizer = load_tokenizer(golden("gpt2.json"));
  const Ids ids = tokenizer->encode("x\U0001F9FF", false);
  StreamDecoder decoder(*tokenizer, false);
  std::string text;
  for (size_t i = 0; i + 1 < ids.size(); ++i) text += decoder.push(ids[i]);
  EXPECT_EQ(text, "x");
  EXPECT_EQ(decoder.finish(), "\uFFFD");
}

TEST(StreamDecoder, KeepsWhatStandsBeforeATokenThatSaysNothing) {
  const Json recogniser = {
      {"model",
       {{"type", "WordLevel"},
        {"vocab", {{"\uFFFD", 0}, {"<pad>", 1}, {"a", 2}}},
        {"unk_token", "a"}}},
      {"decoder", {{"type", "CTC"}, {"pad_token", "<pad>"}, {"word_delimiter_token", "|"}}}};
  const auto tokenizer = make_tokenizer(recogniser, Json(), "file");
  StreamDecoder decoder(*tokenizer, false);
  std::string text;
  for (const int32_t id : {0, 1, 2}) text += decoder.push(id);
  EXPECT_EQ(text + decoder.finish(), "\uFFFDa");
}

TEST(StreamDecoder, IdsWithoutATokenGiveNoText) {
  const auto tokenizer = load_tokenizer(golden("gpt2.json"));
  StreamDecoder decoder(*tokenizer, false);
  EXPECT_EQ(decoder.push(tokenizer->vocab_size()), "");
  EXPECT_EQ(decoder.push(tokenizer->token_to_id("a").value()), "a");
}

TEST(StreamDecoder, GarbageWithoutEndStaysCheap) {
  const auto tokenizer = load_tokenizer(golden("gpt2.json"));
  const Ids ids(50'000, tokenizer->encode("\U0001F9FF", false)[1]);  // a middle of a character
  EXPECT_EQ(stream(*tokenizer, ids, false), tokenizer->decode(ids, false));
}

TEST(StreamDecoder, BytesWithoutEndStayCheap) {
  const auto tokenizer = load_tokenizer(golden("llama2.json"));
  const Ids ids(200'000, tokenizer->token_to_id("<0x80>").value());
  EXPECT_EQ(stream(*tokenizer, ids, false), tokenizer->decode(ids, false));
}

TEST(Tokenizer, LoadsFromAFolder) {
  TempDir folder;
  write_file(folder.file("tokenizer.json"), read_file(golden("smollm.json")));
  EXPECT_EQ(load_tokenizer(folder.path().string())->encode("a1", false),
            load_tokenizer(golden("smollm.json"))->encode("a1", false));
  EXPECT_THROW(load_tokenizer(folder.file("none")), Error);
}

}  // namespace
}  // namespace zerostream
