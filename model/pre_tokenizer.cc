#include "model/pre_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "model/byte_level.h"
#include "model/metaspace.h"
#include "model/text_edit.h"
#include "model/tokenizer_parts.h"
#include "model/unicode_scripts.h"
#include "model/utf8.h"

namespace zerostream {
namespace {

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

SplitRule white_space(const std::string& where) {
  return {Regex(R"(\s)", where), SplitBehavior::kRemoved};
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
  if (type == "WhitespaceSplit") return white_space(where);
  if (type == "CharDelimiterSplit") {
    return SplitRule{Regex::literal(part.member("delimiter").text()), SplitBehavior::kRemoved};
  }
  return std::nullopt;
}

// Pieces of `length` characters each, the last one maybe shorter.
bool cut(std::string_view text, size_t length, std::vector<std::string>& pieces) {
  size_t characters = 0, begin = 0;
  for (size_t i = 0; i < text.size();) {
    i += utf8_at(text, i).bytes;
    if (++characters % length != 0 && i < text.size()) continue;
    pieces.emplace_back(text.substr(begin, i - begin));
    begin = i;
  }
  return true;
}

// Pieces that each begin with the mark, but maybe the first one.
void cut_before(std::string_view text, std::string_view mark, std::vector<std::string>& pieces) {
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = std::min(text.find(mark, begin + 1), text.size());
    pieces.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
}

// The spaces of a text as marks, one more of them at its beginning where there is none.
std::string mark_spaces(std::string_view text, std::string_view mark, bool prepend) {
  std::string marked;
  marked.reserve(text.size() + mark.size());
  for (const char c : text) {
    if (c == ' ') {
      marked += mark;
    } else {
      marked.push_back(c);
    }
  }
  if (prepend && !marked.starts_with(mark)) marked.insert(0, mark);
  return marked;
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
  } else if (type == "Metaspace") {
    add_metaspace(pre_tokenizer);
  } else if (type == "BertPreTokenizer") {
    add_split(white_space(pre_tokenizer.where()));
    add_split({Regex(kPunctuation, pre_tokenizer.where()), SplitBehavior::kIsolated});
  } else if (type == "FixedLength") {
    const auto length = static_cast<size_t>(pre_tokenizer.member("length").id());
    if (length == 0) pre_tokenizer.member("length").fail("must not be 0");
    add_cut([length](std::string_view word, auto& pieces) { return cut(word, length, pieces); });
  } else if (type == "UnicodeScripts") {
    add_cut(cut_by_script);
  } else if (std::optional<SplitRule> rule = read_split(pre_tokenizer)) {
    add_split(std::move(*rule));
  } else {
    pre_tokenizer.fail_type();
  }
}

void PreTokenizer::add_cut(Cut cut) {
  steps_.emplace_back([cut = std::move(cut)](Words& words) {
    Words pieces;
    pieces.list.reserve(words.list.size());
    for (const std::string& word : words.list) {
      const bool first = &word == &words.list.front();
      const bool keeps_beginning = cut(word, pieces.list);
      if (first) pieces.at_start = words.at_start && keeps_beginning;
    }
    words = std::move(pieces);
  });
}

void PreTokenizer::add_split(SplitRule rule) {
  add_cut([rule = std::move(rule)](std::string_view word, auto& pieces) {
    return split_text(word, rule, pieces);
  });
}

void PreTokenizer::add_byte_level(const JsonPart& part) {
  if (part.boolean("add_prefix_space", true)) {
    steps_.emplace_back([](Words& words) {
      for (std::string& word : words.list) {
        if (!word.starts_with(' ')) word.insert(0, 1, ' ');
      }
    });
  }
  if (part.boolean("use_regex", true)) add_split({Regex(kGpt2Pattern, part.where())});
  steps_.emplace_back([](Words& words) {
    for (std::string& word : words.list) word = bytes_to_characters(word);
  });
}

void PreTokenizer::add_metaspace(const JsonPart& part) {
  const Metaspace metaspace(part);
  steps_.emplace_back([metaspace](Words& words) {
    Words pieces{{}, words.at_start};
    for (const std::string& word : words.list) {
      const bool at_start = words.at_start && &word == &words.list.front();
      const bool prepend = metaspace.prepend == Metaspace::Prepend::kAlways ||
                           (metaspace.prepend == Metaspace::Prepend::kFirst && at_start);
      std::string marked = mark_spaces(word, metaspace.mark, prepend);
      if (metaspace.split) {
        cut_before(marked, metaspace.mark, pieces.list);
      } else {
        pieces.list.push_back(std::move(marked));
      }
    }
    words = std::move(pieces);
  });
}

std::vector<std::string> PreTokenizer::operator()(std::string_view text, bool at_start) const {
  if (text.empty()) return {};
  Words words{{std::string(text)}, at_start};
  for (const Step& step : steps_) {
    step(words);
    size_t bytes = 0;
    for (const std::string& word : words.list) bytes += word.size();
    check_growth(text.size(), bytes);
  }
  return std::move(words.list);
}

}  // namespace zerostream
