#include "model/normalizer.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "model/byte_level.h"
#include "model/precompiled_map.h"
#include "model/text_edit.h"
#include "model/unicode_classes.h"
#include "model/unicode_forms.h"
#include "model/utf8.h"

namespace zerostream {
namespace {

using Step = std::function<std::string(const std::string&)>;

// Calls append(result, character, bytes) for every character; they make the result.
template <typename Append>
std::string map_characters(std::string_view text, Append&& append) {
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Utf8Sequence next = utf8_at(text, i);
    append(result, next.code_point, text.substr(i, next.bytes));
    i += next.bytes;
  }
  return result;
}

std::string lowercase(const std::string& text) {
  return map_characters(
      text, [](std::string& result, char32_t c, std::string_view) { append_lowercase(result, c); });
}

std::string strip_accents(const std::string& text) {
  return map_characters(text, [](std::string& result, char32_t c, std::string_view bytes) {
    if (!is_combining_mark(c)) result += bytes;
  });
}

// The clean-up of sentencepiece's "nmt" rules.
std::string clean_nmt(const std::string& text) {
  static constexpr CodePointRange kRemoved[] = {{0x01, 0x08}, {0x0B, 0x0B}, {0x0E, 0x1F},
                                                {0x7F, 0x7F}, {0x8F, 0x8F}, {0x9F, 0x9F}};
  static constexpr CodePointRange kSpaces[] = {{0x09, 0x0A},     {0x0C, 0x0D},     {0x1680, 0x1680},
                                               {0x200B, 0x200F}, {0x2028, 0x2029}, {0x2581, 0x2581},
                                               {0xFEFF, 0xFEFF}, {0xFFFD, 0xFFFD}};
  return map_characters(text, [](std::string& result, char32_t c, std::string_view bytes) {
    if (in_ranges(c, kRemoved)) return;
    result += in_ranges(c, kSpaces) ? " " : bytes;
  });
}

struct StripSpaces {
  bool left = true;
  bool right = true;

  std::string operator()(std::string_view text) const {
    size_t begin = text.size(), end = 0;
    for (size_t i = 0; i < text.size();) {
      const Utf8Sequence next = utf8_at(text, i);
      if (!is_white_space(next.code_point)) {
        begin = std::min(begin, i);
        end = i + next.bytes;
      }
      i += next.bytes;
    }
    if (!left) begin = 0;
    if (!right) end = text.size();
    return begin < end ? std::string(text.substr(begin, end - begin)) : "";
  }
};

struct BertNormalizer {
  bool clean = true;
  bool space_ideographs = true;
  bool strip_accents = true;
  bool lower = true;

  explicit BertNormalizer(const JsonPart& part)
      : clean(part.boolean("clean_text", true)),
        space_ideographs(part.boolean("handle_chinese_chars", true)),
        lower(part.boolean("lowercase", true)) {
    strip_accents = part.boolean("strip_accents", lower);
  }

  std::string operator()(std::string text) const {
    if (clean) {
      text = map_characters(text, [](std::string& result, char32_t c, std::string_view bytes) {
        if (c == U'\uFFFD' || is_control(c)) return;
        result += is_white_space(c) ? " " : bytes;
      });
    }
    if (space_ideographs) {
      text = map_characters(text, [](std::string& result, char32_t c, std::string_view bytes) {
        const std::string_view space = is_cjk_ideograph(c) ? " " : "";
        result.append(space).append(bytes).append(space);
      });
    }
    if (strip_accents) {
      text = map_characters(to_unicode_form(text, UnicodeForm::kNfd),
                            [](std::string& result, char32_t c, std::string_view bytes) {
                              if (!is_nonspacing_mark(c)) result += bytes;
                            });
    }
    return lower ? lowercase(text) : text;
  }
};

Step unicode_form(UnicodeForm form) {
  return [form](const std::string& text) { return to_unicode_form(text, form); };
}

// Null for a type that is none of these.
Step read_unicode_step(const std::string& type) {
  if (type == "NFC") return unicode_form(UnicodeForm::kNfc);
  if (type == "NFD") return unicode_form(UnicodeForm::kNfd);
  if (type == "NFKC") return unicode_form(UnicodeForm::kNfkc);
  if (type == "NFKD") return unicode_form(UnicodeForm::kNfkd);
  if (type == "Nmt") return clean_nmt;
  if (type == "Lowercase") return lowercase;
  if (type == "StripAccents") return strip_accents;
  if (type == "ByteLevel") return [](const std::string& text) { return bytes_to_characters(text); };
  return nullptr;
}

Step read_step(const JsonPart& part) {
  const std::string type = part.type();
  if (type == "Prepend") {
    return [prefix = part.member("prepend").text()](const std::string& text) {
      return text.empty() ? text : prefix + text;
    };
  }
  if (type == "Replace") return read_replacement(part);
  if (type == "Strip") {
    return StripSpaces{part.boolean("strip_left", true), part.boolean("strip_right", true)};
  }
  if (type == "BertNormalizer") return BertNormalizer(part);
  if (type == "Precompiled") {
    const JsonPart map = part.member("precompiled_charsmap");
    const auto shared =
        std::make_shared<const PrecompiledMap>(decode_base64(map.text(), map.where()), map.where());
    return [shared](const std::string& text) { return (*shared)(text); };
  }
  if (Step step = read_unicode_step(type)) return step;
  part.fail_type();
}

}  // namespace

Normalizer::Normalizer(const JsonPart& normalizer) {
  if (!normalizer.is_null()) add(normalizer);
}

void Normalizer::add(const JsonPart& normalizer) {
  if (normalizer.type() == "Sequence") {
    for (const JsonPart& part : normalizer.member("normalizers").items()) add(part);
  } else {
    steps_.push_back(read_step(normalizer));
  }
}

std::string Normalizer::operator()(std::string_view text) const {
  std::string result(text);
  for (const auto& step : steps_) {
    result = step(result);
    check_growth(text.size(), result.size());
  }
  return result;
}

}  // namespace zerostream
