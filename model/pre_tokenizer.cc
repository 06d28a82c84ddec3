#include "model/pre_tokenizer.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "model/byte_level.h"
#include "model/split.h"
#include "model/text_edit.h"

namespace zerostream {
namespace {

constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Rust's numbers, of a later Unicode version than the patterns'.
constexpr std::string_view kDigit = R"([\p{N}\x{11DE0}-\x{11DE9}\x{16FF4}-\x{16FF6}])";

// Punctuation by the tables of Unicode 8 that Hugging Face has for it.
constexpr std::string_view kPunctuation =
    R"((?![\x{61D}\x{9FD}\x{A76}\x{C77}\x{C84}\x{1B4E}\x{1B4F}\x{1B7D}-\x{1B7F}\x{2E43}-\x{2E4F})"
    R"(\x{2E52}-\x{2E5D}\x{10D6E}\x{10EAD}\x{10F55}-\x{10F59}\x{10F86}-\x{10F89}\x{113D4}-\x{113D8})"
    R"(\x{1144B}-\x{1144F}\x{1145A}-\x{1145D}\x{11660}-\x{1166C}\x{116B9}\x{1183B})"
    R"(\x{11944}-\x{11946}\x{119E2}\x{11A3F}-\x{11A46}\x{11A9A}-\x{11A9C}\x{11A9E}-\x{11AA2})"
    R"(\x{11B00}-\x{11B09}\x{11BE1}\x{11C41}-\x{11C45}\x{11C70}-\x{11C71}\x{11EF7}-\x{11EF8})"
    R"(\x{11F43}-\x{11F4F}\x{11FFF}\x{12FF1}-\x{12FF2}\x{16D6D}-\x{16D6F}\x{16E97}-\x{16E9A})"
    R"(\x{16FE2}\x{1E5FF}\x{1E95E}-\x{1E95F}])[\p{P}!-/:-@\[-`{-~\x{166D}\x{111C9}])";

std::vector<std::string> split_words(const std::vector<std::string>& words, const SplitRule& rule) {
  std::vector<std::string> pieces;
  pieces.reserve(words.size());
  for (const std::string& word : words) split_text(word, rule, pieces);
  return pieces;
}

std::optional<SplitRule> read_split(const JsonPart& part) {
  const std::string type = part.type(), where = part.where();
  if (type == "Split") {
    return SplitRule{read_pattern(part), read_split_behavior(part.member("behavior")),
                     part.boolean("invert", false)};
  }
  if (type == "Digits") {
    return SplitRule{Regex(kDigit, where), part.boolean("individual_digits", false)
                                               ? SplitBehavior::kIsolated
                                               : SplitBehavior::kContiguous};
  }
  if (type == "Punctuation") {
    const JsonPart behavior = part.member("behavior");
    return SplitRule{Regex(kPunctuation, where),
                     behavior.is_null() ? SplitBehavior::kIsolated : read_split_behavior(behavior)};
  }
  if (type == "Whitespace") {
    const std::string pattern = fmt::format("{0}+|(?:(?!{0})\\S)+", kRustWordCharacter);
    return SplitRule{Regex(pattern, where), SplitBehavior::kRemoved, true};
  }
  if (type == "WhitespaceSplit") return SplitRule{Regex(R"(\s)", where), SplitBehavior::kRemoved};
  if (type == "CharDelimiterSplit") {
    return SplitRule{Regex::literal(part.member("delimiter").text()), SplitBehavior::kRemoved};
  }
  return std::nullopt;
}

}  // namespace

PreTokenizer::PreTokenizer(const JsonPart& pre_tokenizer) {
  if (!pre_tokenizer.is_null()) add(pre_tokenizer);
}

void PreTokenizer::add(const JsonPart& pre_tokenizer) {
  const std::string type = pre_tokenizer.type();
  if (type == "Sequence") {
    for (const JsonPart& part : pre_tokenizer.member("pretokenizers").items()) add(part);
  } else if (type == "ByteLevel") {
    add_byte_level(pre_tokenizer);
  } else if (std::optional<SplitRule> rule = read_split(pre_tokenizer)) {
    steps_.emplace_back(
        [rule = std::move(*rule)](const Words& words) { return split_words(words, rule); });
  } else {
    pre_tokenizer.fail_type();
  }
}

void PreTokenizer::add_byte_level(const JsonPart& part) {
  if (part.boolean("add_prefix_space", true)) {
    steps_.emplace_back([](Words words) {
      for (std::string& word : words) {
        if (!word.starts_with(' ')) word.insert(0, 1, ' ');
      }
      return words;
    });
  }
  if (part.boolean("use_regex", true)) {
    steps_.emplace_back([rule = SplitRule{Regex(kGpt2Pattern, part.where())}](const Words& words) {
      return split_words(words, rule);
    });
  }
  steps_.emplace_back([](Words words) {
    for (std::string& word : words) word = bytes_to_characters(word);
    return words;
  });
}

std::vector<std::string> PreTokenizer::operator()(std::string_view text) const {
  if (text.empty()) return {};
  Words words{std::string(text)};
  for (const auto& step : steps_) words = step(std::move(words));
  return words;
}

}  // namespace zerostream
