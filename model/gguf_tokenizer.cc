#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "model/gguf.h"
#include "model/tokenizer_json.h"

namespace zerostream {
namespace {

// What tokenizer.json says and GGUF files keep in the word `pre` alone.
struct PreKind {
  std::string_view name;
  std::string_view pattern = {};  // empty: that of ByteLevel
  bool single_digits = false;
  bool nfc = false;
  bool ignore_merges = false;
  bool add_bos = false;  // where the file does not say
};

constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekkenPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr std::array<PreKind, 13> kPreKinds = {{
    {.name = "default"},
    {.name = "gpt-2"},
    {.name = "phi-2"},
    {.name = "llama-bpe", .pattern = kLlama3Pattern, .ignore_merges = true, .add_bos = true},
    {.name = "llama3", .pattern = kLlama3Pattern, .ignore_merges = true, .add_bos = true},
    {.name = "llama-v3", .pattern = kLlama3Pattern, .ignore_merges = true, .add_bos = true},
    {.name = "qwen2", .pattern = kQwen2Pattern, .nfc = true},
    {.name = "deepseek-r1-qwen", .pattern = kQwen2Pattern, .nfc = true, .add_bos = true},
    {.name = "smollm", .single_digits = true},
    {.name = "starcoder", .single_digits = true},
    {.name = "refact", .single_digits = true},
    {.name = "codeshell", .single_digits = true},
    {.name = "tekken", .pattern = kTekkenPattern, .ignore_merges = true, .add_bos = true},
}};

enum class TokenType : int64_t { kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5 };

const PreKind& find_pre_kind(const JsonPart& pre) {
  const std::string name = pre.is_null() ? "default" : pre.text();
  for (const PreKind& kind : kPreKinds) {
    if (kind.name == name) return kind;
  }
  pre.fail("\"" + name + "\" is not supported");
}

Json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

Json pre_tokenizer(const PreKind& kind) {
  Json steps = Json::array();
  if (kind.single_digits) steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
  if (!kind.pattern.empty()) {
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", kind.pattern}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  }
  steps.push_back(byte_level(kind.pattern.empty()));
  return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
}

Json added_token(size_t id, const std::string& content, bool special) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

// Fills in "added_tokens" and the model's vocabulary.
void read_tokens(const JsonPart& metadata, Json& tokenizer) {
  const JsonPart types = metadata.member("tokenizer.ggml.token_type");
  Json vocabulary = Json::object(), added = Json::array();
  size_t id = 0;
  for (const JsonPart& token : metadata.member("tokenizer.ggml.tokens").items()) {
    int64_t type = 1;
    if (!types.is_null()) {
      if (!types.value().is_array() || id >= types.value().size()) types.fail("is too short");
      if (!types.value()[id].is_number_integer()) types.fail("must hold integers");
      type = types.value()[id].get<int64_t>();
    }
    const bool special = type == static_cast<int64_t>(TokenType::kControl) ||
                         type == static_cast<int64_t>(TokenType::kUnknown);
    if (special || type == static_cast<int64_t>(TokenType::kUserDefined)) {
      added.push_back(added_token(id, token.text(), special));
    }
    if (type != static_cast<int64_t>(TokenType::kUnused)) {
      const auto [entry, is_new] = vocabulary.emplace(token.text(), id);
      if (!is_new) token.fail("\"" + entry.key() + "\" is there twice");
    }
    ++id;
  }
  tokenizer["added_tokens"] = std::move(added);
  tokenizer["model"]["vocab"] = std::move(vocabulary);
}

// A template that puts BOS before the text and EOS after it where the file wants them.
Json post_processor(const JsonPart& metadata, const PreKind& kind) {
  const JsonPart tokens = metadata.member("tokenizer.ggml.tokens");
  Json specials = Json::object();
  const auto special = [&](std::string_view key) {
    const JsonPart part = metadata.member(key);
    const auto id = static_cast<size_t>(part.id());
    if (id >= tokens.value().size()) part.fail("is not in the vocabulary");
    const std::string name = tokens.items()[id].text();
    specials[name] = {{"id", name}, {"ids", {id}}, {"tokens", {name}}};
    return Json{{"SpecialToken", {{"id", name}, {"type_id", 0}}}};
  };
  Json single = Json::array();
  if (metadata.boolean("tokenizer.ggml.add_bos_token", kind.add_bos)) {
    single.push_back(special("tokenizer.ggml.bos_token_id"));
  }
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  if (metadata.boolean("tokenizer.ggml.add_eos_token", false)) {
    single.push_back(special("tokenizer.ggml.eos_token_id"));
  }
  return {{"type", "TemplateProcessing"},
          {"single", std::move(single)},
          {"pair", Json::array()},
          {"special_tokens", std::move(specials)}};
}

}  // namespace

Json gguf_tokenizer_json(const Json& metadata, const std::string& source) {
  const JsonPart root(metadata, source + ": ");
  const JsonPart model = root.member("tokenizer.ggml.model");
  if (model.is_null()) model.fail("is missing: the file has no tokenizer");
  if (model.text() != "gpt2") model.fail("\"" + model.text() + "\" is not supported");
  const JsonPart merges = root.member("tokenizer.ggml.merges");
  if (!merges.value().is_array()) merges.fail("must be an array");
  const PreKind& kind = find_pre_kind(root.member("tokenizer.ggml.pre"));

  Json tokenizer = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  tokenizer["normalizer"] = kind.nfc ? Json{{"type", "NFC"}} : Json();
  tokenizer["pre_tokenizer"] = pre_tokenizer(kind);
  tokenizer["decoder"] = byte_level(true);
  tokenizer["model"] = {{"type", "BPE"},
                        {"dropout", nullptr},
                        {"unk_token", nullptr},
                        {"continuing_subword_prefix", nullptr},
                        {"end_of_word_suffix", nullptr},
                        {"fuse_unk", false},
                        {"byte_fallback", false},
                        {"ignore_merges", kind.ignore_merges},
                        {"merges", merges.value()}};
  read_tokens(root, tokenizer);
  tokenizer["post_processor"] = post_processor(root, kind);
  return tokenizer;
}

}  // namespace zerostream
