#include "model/tokenizer_parts.h"

#include <utility>

namespace zerostream {

Json byte_level_part(bool use_regex, bool add_prefix_space) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", add_prefix_space},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

Json metaspace_part(std::string_view prepend_scheme, bool split) {
  return {{"type", "Metaspace"},
          {"replacement", kSpaceMark},
          {"prepend_scheme", prepend_scheme},
          {"split", split}};
}

Json split_part(std::string_view regex, std::string_view behavior) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", regex}}},
          {"behavior", behavior},
          {"invert", false}};
}

Json sequence_part(std::string_view key, Json parts) {
  return {{"type", "Sequence"}, {std::string(key), std::move(parts)}};
}

Json template_part(const std::vector<TemplateToken>& before,
                   const std::vector<TemplateToken>& after) {
  Json single = Json::array(), specials = Json::object();
  const auto put = [&](const TemplateToken& token) {
    const Json ids = Json::array({token.id}), tokens = Json::array({token.content});
    specials[token.content] = {{"id", token.content}, {"ids", ids}, {"tokens", tokens}};
    single.push_back({{"SpecialToken", {{"id", token.content}, {"type_id", 0}}}});
  };
  for (const TemplateToken& token : before) put(token);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  for (const TemplateToken& token : after) put(token);
  return {{"type", "TemplateProcessing"},
          {"single", std::move(single)},
          {"pair", Json::array()},
          {"special_tokens", std::move(specials)}};
}

Json added_token_part(size_t id, const std::string& content, bool special) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

Json bpe_part() {
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", false}};
}

}  // namespace zerostream
