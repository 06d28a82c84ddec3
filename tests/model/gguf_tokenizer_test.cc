// The tokenizer in a GGUF file's metadata against the tokenizer.json that it stands for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "model/gguf.h"
#include "model/json.h"
#include "model/spm_model.h"
#include "model/tokenizer.h"
#include "tests/support/temp_dir.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using testing::HasSubstr;

constexpr int kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5;

Json golden(const std::string& name) {
  return read_json_file(std::string(ZS_TEST_DATA) + "/tokenizers/" + name + ".json");
}

// What a conversion to GGUF keeps of a tokenizer.json.
Json metadata_of(const Json& tokenizer, const std::string& pre) {
  std::vector<std::string> tokens(tokenizer["model"]["vocab"].size());
  for (const auto& [token, id] : tokenizer["model"]["vocab"].items()) {
    tokens[id.get<size_t>()] = token;
  }
  std::vector<int> types(tokens.size(), kNormal);
  for (const Json& added : tokenizer["added_tokens"]) {
    const auto id = added["id"].get<size_t>();
    if (id >= tokens.size()) {
      tokens.resize(id + 1);
      types.resize(id + 1, kNormal);
      tokens[id] = added["content"].get<std::string>();
    }
    types[id] = added["special"].get<bool>() ? kControl : kUserDefined;
  }
  Json merges = Json::array();
  for (const Json& merge : tokenizer["model"]["merges"]) {
    merges.push_back(merge.is_string()
                         ? merge.get<std::string>()
                         : merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  return {{"tokenizer.ggml.model", "gpt2"},   {"tokenizer.ggml.pre", pre},
          {"tokenizer.ggml.tokens", tokens},  {"tokenizer.ggml.token_type", types},
          {"tokenizer.ggml.merges", merges},  {"tokenizer.ggml.bos_token_id", 0},
          {"tokenizer.ggml.eos_token_id", 0}, {"tokenizer.ggml.add_bos_token", false}};
}

void expect_same(const std::string& name, const std::string& pre) {
  const Json content = golden(name);
  const auto tokenizer =
      make_tokenizer(gguf_tokenizer_json(metadata_of(content, pre), "file"), Json(), "file");
  const auto original = make_tokenizer(content, Json(), "file");
  for (const Json& text : golden("texts")) {
    const std::vector<int32_t> ids = original->encode(text.get<std::string>(), false);
    EXPECT_EQ(tokenizer->encode(text.get<std::string>(), false), ids) << pre << ": " << text;
    EXPECT_EQ(tokenizer->decode(ids, true), original->decode(ids, true));
  }
}

TEST(GgufTokenizer, PreTokenizersAreThoseOfTheModels) {
  expect_same("gpt2", "gpt-2");
  expect_same("gpt2", "default");
  expect_same("smollm", "smollm");
  expect_same("llama3", "llama-bpe");
}

// Without the one token that is looked for in normalised text, which GGUF cannot say.
TEST(GgufTokenizer, Qwen2NormalisesItsText) {
  Json content = golden("qwen2");
  Json& added = content["added_tokens"];
  added.erase(added.size() - 1);
  const auto original = make_tokenizer(content, Json(), "file");
  const auto tokenizer =
      make_tokenizer(gguf_tokenizer_json(metadata_of(content, "qwen2"), "file"), Json(), "file");
  for (const Json& text : golden("texts")) {
    EXPECT_EQ(tokenizer->encode(text.get<std::string>(), false),
              original->encode(text.get<std::string>(), false))
        << text;
  }
}

TEST(GgufTokenizer, PutsBosAndEosWhereTheFileSaysSo) {
  Json metadata = metadata_of(golden("gpt2"), "gpt-2");
  const auto ids = [&] {
    return make_tokenizer(gguf_tokenizer_json(metadata, "file"), Json(), "file")->encode("a", true);
  };
  const int32_t a = ids().at(0);
  EXPECT_EQ(ids(), (std::vector<int32_t>{a}));
  metadata["tokenizer.ggml.add_bos_token"] = true;
  EXPECT_EQ(ids(), (std::vector<int32_t>{0, a}));
  metadata["tokenizer.ggml.add_eos_token"] = true;
  EXPECT_EQ(ids(), (std::vector<int32_t>{0, a, 0}));
}

std::string model_file(const std::string& folder) {
  return read_file(std::string(ZS_TEST_DATA) + "/tokenizers/folders/" + folder);
}

// What a conversion to GGUF keeps of a sentencepiece model.
Json metadata_of(const SpmModel& model, const std::string& kind) {
  Json tokens = Json::array(), scores = Json::array(), types = Json::array();
  for (const SpmPiece& piece : model.pieces) {
    tokens.push_back(piece.text);
    scores.push_back(piece.score);
    types.push_back(static_cast<int32_t>(piece.type));
  }
  return {{"general.architecture", "llama"},
          {"tokenizer.ggml.model", kind},
          {"tokenizer.ggml.tokens", tokens},
          {"tokenizer.ggml.scores", scores},
          {"tokenizer.ggml.token_type", types},
          {"tokenizer.ggml.unknown_token_id", model.unknown_id},
          {"tokenizer.ggml.bos_token_id", model.bos_id},
          {"tokenizer.ggml.eos_token_id", model.eos_id}};
}

void expect_folder(const Json& metadata, const std::string& folder) {
  const std::string path = std::string(ZS_TEST_DATA) + "/tokenizers/folders/" + folder;
  const auto original = load_tokenizer(path);
  const auto tokenizer = make_tokenizer(gguf_tokenizer_json(metadata, "file"), Json(), "file");
  for (const Json& text : golden("kinds_texts")) {
    const std::vector<int32_t> ids = original->encode(text.get<std::string>(), true);
    EXPECT_EQ(tokenizer->encode(text.get<std::string>(), true), ids) << folder << ": " << text;
    EXPECT_EQ(tokenizer->decode(ids, true), original->decode(ids, true));
  }
}

TEST(GgufTokenizer, SentencepieceMergesTheBestScoreFirst) {
  const SpmModel model = read_spm_model(model_file("llama/tokenizer.model"), "file");
  expect_folder(metadata_of(model, "llama"), "llama");
}

TEST(GgufTokenizer, GemmaHasNoSpaceBeforeTheText) {
  const SpmModel model = read_spm_model(model_file("gemma/tokenizer.model"), "file");
  Json metadata = metadata_of(model, "llama");
  metadata["general.architecture"] = "gemma2";
  const auto tokenizer = make_tokenizer(gguf_tokenizer_json(metadata, "file"), Json(), "file");
  const auto original = load_tokenizer(std::string(ZS_TEST_DATA) + "/tokenizers/folders/gemma");
  EXPECT_EQ(tokenizer->encode("Hello  world", true), original->encode("Hello  world", true));
}

TEST(GgufTokenizer, SpacePrefixIsLeftOutOnRequest) {
  const SpmModel model = read_spm_model(model_file("llama/tokenizer.model"), "file");
  Json metadata = metadata_of(model, "llama");
  metadata["tokenizer.ggml.add_space_prefix"] = false;
  metadata["tokenizer.ggml.add_bos_token"] = false;
  const auto tokenizer = make_tokenizer(gguf_tokenizer_json(metadata, "file"), Json(), "file");
  const std::vector<int32_t> ids = tokenizer->encode("a", true);
  EXPECT_EQ(ids, std::vector{tokenizer->token_to_id("a").value()});
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(" a", true), true), " a");
}

TEST(GgufTokenizer, EveryPreKindLoads) {
  for (const char* pre :
       {"falcon",     "mpt",         "olmo",         "command-r",      "dbrx",
        "jais-2",     "qwen35",      "gpt-4o",       "llama4",         "tiny_aya",
        "youtu",      "deepseek-v3", "deepseek-llm", "deepseek-coder", "seed-coder",
        "bailingmoe", "superbpe",    "bloom",        "viking",         "tekken",
        "glm4",       "stablelm2",   "roberta-bpe"}) {
    const Json metadata = metadata_of(golden("gpt2"), pre);
    const auto tokenizer = make_tokenizer(gguf_tokenizer_json(metadata, "file"), Json(), "file");
    const std::string text = "It's 12345 Straße 今天,\n\n  x";
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, false), true), text) << pre;
  }
}

TEST(GgufTokenizer, UnusedTokensHaveNoText) {
  Json metadata = metadata_of(golden("gpt2"), "gpt-2");
  const size_t id = metadata["tokenizer.ggml.tokens"].size() - 2;
  metadata["tokenizer.ggml.tokens"][id] = "[PAD]";
  metadata["tokenizer.ggml.token_type"][id] = kUnused;
  metadata["tokenizer.ggml.merges"] = Json::array();
  const auto tokenizer = make_tokenizer(gguf_tokenizer_json(metadata, "file"), Json(), "file");
  EXPECT_FALSE(tokenizer->token_to_id("[PAD]").has_value());
  EXPECT_EQ(tokenizer->decode(std::vector{static_cast<int32_t>(id)}, false), "");
}

TEST(GgufTokenizer, NamesWhatIsWrong) {
  const Json good = metadata_of(golden("gpt2"), "gpt-2");
  const auto problem = [&](const std::string& key, const Json& value) -> std::string {
    Json metadata = good;
    metadata["tokenizer.ggml." + key] = value;
    try {
      gguf_tokenizer_json(metadata, "file");
    } catch (const CheckpointError& error) {
      return error.what();
    }
    return "none";
  };
  EXPECT_THAT(problem("model", "martian"), HasSubstr("\"martian\" is not supported"));
  EXPECT_THAT(problem("pre", "kimi-k2"), HasSubstr("\"kimi-k2\" is not supported"));
  EXPECT_THAT(problem("model", nullptr), HasSubstr("no tokenizer"));
  EXPECT_THAT(problem("pre", "martian"), HasSubstr("\"martian\" is not supported"));
  EXPECT_THAT(problem("tokens", 3), HasSubstr("tokenizer.ggml.tokens"));
  EXPECT_THAT(problem("tokens", Json::array({"a", "a"})), HasSubstr("twice"));
  EXPECT_THAT(problem("token_type", Json::array({1})), HasSubstr("tokenizer.ggml.token_type"));
  EXPECT_THAT(problem("merges", nullptr), HasSubstr("tokenizer.ggml.merges"));
  Json metadata = good;
  metadata["tokenizer.ggml.add_bos_token"] = true;
  metadata["tokenizer.ggml.bos_token_id"] = 1 << 20;
  EXPECT_THROW(gguf_tokenizer_json(metadata, "file"), CheckpointError);
}

}  // namespace
}  // namespace zerostream
