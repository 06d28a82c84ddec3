// Makes the parts of a tokenizer.json for tokenizers that come in other files.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/json.h"
#include "model/spm_model.h"

namespace zerostream {

inline constexpr std::string_view kSpaceMark = "\u2581";

// Patterns that several families of models split text with.
inline constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

Json byte_level_part(bool use_regex, bool add_prefix_space = false);
Json metaspace_part(std::string_view prepend_scheme, bool split);
Json split_part(std::string_view regex, std::string_view behavior = "Isolated");
// {"type": "Sequence", key: parts}
Json sequence_part(std::string_view key, Json parts);

struct TemplateToken {
  std::string content;
  int32_t id = 0;
};
// Tokens before and after the text.
Json template_part(const std::vector<TemplateToken>& before,
                   const std::vector<TemplateToken>& after);

Json added_token_part(size_t id, const std::string& content, bool special);

// A model of byte-level BPE, without "vocab" and "merges".
Json bpe_part();

// How a sentencepiece model is used.
struct SpmUse {
  // kLlama: the text is one word, marks for spaces; kGemma: without a mark before the text; kT5:
  // words by white space, each with a mark; kPlain: as the model file says.
  enum class Style { kLlama, kGemma, kT5, kPlain };
  Style style = Style::kPlain;
  std::string prepend_scheme = "first";  // of kLlama
  MergeOrder merge_order = MergeOrder::kById;
};

// The whole tokenizer.json of a sentencepiece model, with its control and user-defined pieces as
// added tokens and without a post-processor. Throws CheckpointError naming `source` for kinds of
// models that are not supported.
Json spm_tokenizer_json(const SpmModel& model, const SpmUse& use, const std::string& source);

}  // namespace zerostream
