#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/gguf.h"
#include "model/gguf_pre_kinds.h"
#include "model/tokenizer_json.h"
#include "model/tokenizer_parts.h"

namespace zerostream {
namespace {

enum class TokenType : int64_t { kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5 };

Json pre_tokenizer(const GgufPreKind& kind) {
  Json steps = Json::array();
  for (const std::string_view pattern : kind.patterns) {
    if (!pattern.empty()) steps.push_back(split_part(pattern));
  }
  steps.push_back(byte_level_part(kind.gpt2_pattern));
  return sequence_part("pretokenizers", std::move(steps));
}

// The number of a token's kind, by its id.
int64_t type_of(const JsonPart& types, size_t id) {
  if (types.is_null()) return 1;
  if (!types.value().is_array() || id >= types.value().size()) types.fail("is too short");
  if (!types.value()[id].is_number_integer()) types.fail("must hold integers");
  return types.value()[id].get<int64_t>();
}

// Files of Gemma write tokens of spaces alone as spaces.
std::string with_marks(std::string token) {
  if (token.find_first_not_of(' ') != std::string::npos) return token;
  std::string marks;
  for (size_t i = 0; i < token.size(); ++i) marks += kSpaceMark;
  return marks;
}

// Fills in "added_tokens" and the model's vocabulary.
void read_tokens(const JsonPart& metadata, Json& tokenizer) {
  const JsonPart types = metadata.member("tokenizer.ggml.token_type");
  Json vocabulary = Json::object(), added = Json::array();
  size_t id = 0;
  for (const JsonPart& token : metadata.member("tokenizer.ggml.tokens").items()) {
    const int64_t type = type_of(types, id);
    const bool special = type == static_cast<int64_t>(TokenType::kControl) ||
                         type == static_cast<int64_t>(TokenType::kUnknown);
    if (special || type == static_cast<int64_t>(TokenType::kUserDefined)) {
      added.push_back(added_token_part(id, token.text(), special));
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
Json post_processor(const JsonPart& metadata, bool add_bos, bool add_eos) {
  const JsonPart tokens = metadata.member("tokenizer.ggml.tokens");
  const auto special = [&](std::string_view key) {
    const JsonPart part = metadata.member(key);
    const int32_t id = part.id();
    if (static_cast<size_t>(id) >= tokens.value().size()) part.fail("is not in the vocabulary");
    return TemplateToken{tokens.items()[static_cast<size_t>(id)].text(), id};
  };
  std::vector<TemplateToken> before, after;
  if (metadata.boolean("tokenizer.ggml.add_bos_token", add_bos)) {
    before.push_back(special("tokenizer.ggml.bos_token_id"));
  }
  if (metadata.boolean("tokenizer.ggml.add_eos_token", add_eos)) {
    after.push_back(special("tokenizer.ggml.eos_token_id"));
  }
  return template_part(before, after);
}

// A byte-level BPE ("gpt2").
Json byte_level_tokenizer(const JsonPart& metadata) {
  const JsonPart merges = metadata.member("tokenizer.ggml.merges");
  if (!merges.value().is_array()) merges.fail("must be an array");
  const GgufPreKind& kind = find_gguf_pre_kind(metadata.member("tokenizer.ggml.pre"));
  Json tokenizer = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  tokenizer["normalizer"] = kind.nfc ? Json{{"type", "NFC"}} : Json();
  tokenizer["pre_tokenizer"] = pre_tokenizer(kind);
  tokenizer["decoder"] = byte_level_part(true);
  tokenizer["model"] = bpe_part();
  tokenizer["model"]["ignore_merges"] = kind.ignore_merges;
  tokenizer["model"]["merges"] = merges.value();
  read_tokens(metadata, tokenizer);
  tokenizer["post_processor"] = post_processor(metadata, kind.add_bos, kind.add_eos);
  return tokenizer;
}

SpmModel read_pieces(const JsonPart& metadata) {
  const JsonPart types = metadata.member("tokenizer.ggml.token_type");
  const JsonPart scores = metadata.member("tokenizer.ggml.scores");
  SpmModel model;
  for (const JsonPart& token : metadata.member("tokenizer.ggml.tokens").items()) {
    const size_t id = model.pieces.size();
    SpmPiece piece{.text = token.text(), .type = static_cast<SpmPieceType>(type_of(types, id))};
    if (!scores.is_null()) {
      if (!scores.value().is_array() || id >= scores.value().size()) scores.fail("is too short");
      if (!scores.value()[id].is_number()) scores.fail("must hold numbers");
      piece.score = scores.value()[id].get<float>();
    }
    model.pieces.push_back(std::move(piece));
  }
  const JsonPart unknown = metadata.member("tokenizer.ggml.unknown_token_id");
  model.unknown_id = unknown.is_null() ? 0 : unknown.id();
  return model;
}

// A BPE of sentencepiece ("llama"), as transformers uses it for the architecture.
Json sentencepiece_tokenizer(const JsonPart& metadata) {
  SpmModel model = read_pieces(metadata);
  model.kind = SpmModel::Kind::kBpe;
  const std::string architecture = metadata.text("general.architecture", "");
  const bool prefix = metadata.boolean("tokenizer.ggml.add_space_prefix", true);
  SpmUse use{.style = SpmUse::Style::kLlama,
             .prepend_scheme = prefix ? "first" : "never",
             .merge_order = MergeOrder::kByScore};
  if (architecture == "phi3") {
    use.style = SpmUse::Style::kPlain;
    model.byte_fallback = true;
    model.remove_extra_whitespaces = false;
    model.add_dummy_prefix = prefix;
  }
  if (architecture == "gemma" || architecture == "gemma2" || architecture == "gemma3") {
    use.style = SpmUse::Style::kGemma;
    use.merge_order = MergeOrder::kById;
    for (SpmPiece& piece : model.pieces) piece.text = with_marks(std::move(piece.text));
  }
  const std::string source = metadata.where() + "tokenizer.ggml.tokens";
  Json tokenizer = spm_tokenizer_json(model, use, source);
  const JsonPart merges = metadata.member("tokenizer.ggml.merges");
  if (!merges.is_null()) tokenizer["model"]["merges"] = merges.value();
  tokenizer["post_processor"] = post_processor(metadata, true, false);
  return tokenizer;
}

// A Unigram of sentencepiece ("t5").
Json unigram_tokenizer(const JsonPart& metadata) {
  SpmModel model = read_pieces(metadata);
  const JsonPart map = metadata.member("tokenizer.ggml.precompiled_charsmap");
  if (!map.is_null()) {
    for (const JsonPart& byte : map.items()) model.charsmap.push_back(static_cast<char>(byte.id()));
  }
  Json tokenizer = spm_tokenizer_json(model, {.style = SpmUse::Style::kT5},
                                      metadata.where() + "tokenizer.ggml.tokens");
  tokenizer["post_processor"] = post_processor(metadata, false, true);
  return tokenizer;
}

}  // namespace

Json gguf_tokenizer_json(const Json& metadata, const std::string& source) {
  const JsonPart root(metadata, source + ": ");
  const JsonPart model = root.member("tokenizer.ggml.model");
  if (model.is_null()) model.fail("is missing: the file has no tokenizer");
  const std::string kind = model.text();
  if (kind == "gpt2") return byte_level_tokenizer(root);
  if (kind == "llama") return sentencepiece_tokenizer(root);
  if (kind == "t5") return unigram_tokenizer(root);
  model.fail("\"" + kind + "\" is not supported");
}

}  // namespace zerostream
