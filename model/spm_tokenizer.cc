#include <string>
#include <utility>

#include "model/precompiled_map.h"
#include "model/tokenizer_parts.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using Style = SpmUse::Style;

Json replace_part(const Json& pattern, std::string_view content) {
  return {{"type", "Replace"}, {"pattern", pattern}, {"content", content}};
}

Json replace_spaces() { return replace_part({{"String", " "}}, kSpaceMark); }

Json bpe_model(const SpmModel& model, const SpmUse& use, const std::string& source) {
  Json vocab = Json::object();
  for (size_t id = 0; id < model.pieces.size(); ++id) vocab[model.pieces[id].text] = id;
  if (vocab.size() != model.pieces.size())
    throw CheckpointError(source + ": a piece is there twice");
  Json part = bpe_part();
  part["fuse_unk"] = true;
  part["byte_fallback"] = model.byte_fallback || use.style != Style::kPlain;
  if (use.style != Style::kLlama && model.unknown_id >= 0 &&
      static_cast<size_t>(model.unknown_id) < model.pieces.size()) {
    part["unk_token"] = model.pieces[static_cast<size_t>(model.unknown_id)].text;
  }
  part["vocab"] = std::move(vocab);
  part["merges"] = spm_merges(model.pieces, use.merge_order, source);
  return part;
}

Json unigram_model(const SpmModel& model, const SpmUse& use) {
  Json vocab = Json::array();
  for (const SpmPiece& piece : model.pieces) vocab.push_back({piece.text, piece.score});
  return {{"type", "Unigram"},
          {"unk_id", model.unknown_id},
          {"exact_scores", true},
          {"byte_fallback", model.byte_fallback && use.style == Style::kPlain},
          {"vocab", std::move(vocab)}};
}

Json normalizer(const SpmModel& model, Style style) {
  if (style == Style::kLlama) return nullptr;
  if (style == Style::kGemma) return replace_spaces();
  Json steps = Json::array();
  if (!model.charsmap.empty()) {
    steps.push_back(
        {{"type", "Precompiled"}, {"precompiled_charsmap", encode_base64(model.charsmap)}});
  }
  if (style == Style::kPlain && model.remove_extra_whitespaces) {
    steps.push_back(replace_part({{"Regex", R"(\A +| +\z)"}}, ""));
    steps.push_back(replace_part({{"Regex", " {2,}"}}, " "));
  }
  if (style == Style::kPlain && model.add_dummy_prefix) {
    steps.push_back({{"type", "Prepend"}, {"prepend", kSpaceMark}});
  }
  if (style == Style::kPlain) steps.push_back(replace_spaces());
  return sequence_part("normalizers", std::move(steps));
}

Json pre_tokenizer(const SpmUse& use) {
  switch (use.style) {
    case Style::kLlama:
      return metaspace_part(use.prepend_scheme, false);
    case Style::kGemma:
      return {{"type", "Split"},
              {"pattern", {{"String", " "}}},
              {"behavior", "MergedWithPrevious"},
              {"invert", false}};
    case Style::kT5:
      return sequence_part("pretokenizers", Json::array({{{"type", "WhitespaceSplit"}},
                                                         metaspace_part("always", true)}));
    case Style::kPlain:
      break;
  }
  return nullptr;
}

Json decoder(const SpmModel& model, const SpmUse& use) {
  if (use.style == Style::kT5) return metaspace_part("always", true);
  Json steps = Json::array({replace_part({{"String", kSpaceMark}}, " "),
                            {{"type", "ByteFallback"}},
                            {{"type", "Fuse"}}});
  const bool prefix = use.style == Style::kPlain
                          ? model.add_dummy_prefix
                          : use.style == Style::kLlama && use.prepend_scheme != "never";
  if (prefix) steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return sequence_part("decoders", std::move(steps));
}

Json added_tokens(const SpmModel& model) {
  Json added = Json::array();
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const SpmPiece& piece = model.pieces[id];
    const bool control =
        piece.type == SpmPieceType::kControl || piece.type == SpmPieceType::kUnknown;
    if (control || piece.type == SpmPieceType::kUserDefined) {
      added.push_back(added_token_part(id, piece.text, control));
    }
  }
  return added;
}

}  // namespace

Json spm_tokenizer_json(const SpmModel& model, const SpmUse& use, const std::string& source) {
  const bool unigram = model.kind == SpmModel::Kind::kUnigram;
  if (!unigram && model.kind != SpmModel::Kind::kBpe) {
    throw CheckpointError(source +
                          ": sentencepiece models of words or characters are not supported");
  }
  if (model.space_as_suffix) {
    throw CheckpointError(source + ": spaces at the ends of pieces are not supported");
  }
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added_tokens(model)},
          {"normalizer", normalizer(model, use.style)},
          {"pre_tokenizer", pre_tokenizer(use)},
          {"post_processor", nullptr},
          {"decoder", decoder(model, use)},
          {"model", unigram ? unigram_model(model, use) : bpe_model(model, use, source)}};
}

}  // namespace zerostream
