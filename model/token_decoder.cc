#include "model/token_decoder.h"

#include <charconv>
#include <string_view>
#include <utility>

#include "model/byte_level.h"
#include "model/text_edit.h"
#include "model/utf8.h"

namespace zerostream {
namespace {

using Tokens = std::vector<std::string>;

std::string fuse(const Tokens& tokens, std::string_view separator = "") {
  std::string text;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) text += separator;
    text += tokens[i];
  }
  return text;
}

Tokens decode_byte_level(const Tokens& tokens) {
  std::string bytes;
  for (const std::string& token : tokens) bytes += characters_to_bytes(token);
  return {replace_invalid_utf8(bytes)};
}

// Runs of byte tokens become the text that they spell, or one U+FFFD each if they spell none.
Tokens decode_byte_fallback(const Tokens& tokens) {
  Tokens decoded;
  std::string run;
  const auto flush = [&] {
    if (run.empty()) return;
    if (find_invalid_utf8(run) == std::string::npos) {
      decoded.push_back(run);
    } else {
      decoded.insert(decoded.end(), run.size(), "\uFFFD");
    }
    run.clear();
  };
  for (const std::string& token : tokens) {
    const int byte = byte_of_token(token);
    if (byte >= 0) {
      run.push_back(static_cast<char>(byte));
    } else {
      flush();
      decoded.push_back(token);
    }
  }
  flush();
  return decoded;
}

// Takes at most `start` and `stop` copies of a character from the ends of every token.
struct Strip {
  std::string content;
  int32_t start = 0;
  int32_t stop = 0;

  Tokens operator()(Tokens tokens) const {
    for (std::string& token : tokens) {
      for (int32_t i = 0; i < start && token.starts_with(content); ++i) {
        token.erase(0, content.size());
      }
      for (int32_t i = 0; i < stop && token.ends_with(content); ++i) {
        token.erase(token.size() - content.size());
      }
    }
    return tokens;
  }
};

}  // namespace

int byte_of_token(const std::string& token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return -1;
  uint8_t byte = 0;
  const char* end = token.data() + 5;
  const auto [rest, error] = std::from_chars(token.data() + 3, end, byte, 16);
  return error == std::errc() && rest == end ? byte : -1;
}

TokenDecoder::TokenDecoder(const JsonPart& decoder) : separator_(decoder.is_null() ? " " : "") {
  if (!decoder.is_null()) add(decoder);
}

void TokenDecoder::add(const JsonPart& decoder) {
  const std::string type = decoder.type();
  if (type == "Sequence") {
    for (const JsonPart& part : decoder.member("decoders").items()) add(part);
  } else if (type == "ByteLevel") {
    steps_.emplace_back(decode_byte_level);
  } else if (type == "ByteFallback") {
    steps_.emplace_back(decode_byte_fallback);
  } else if (type == "Fuse") {
    steps_.emplace_back([](const Tokens& tokens) { return Tokens{fuse(tokens)}; });
  } else if (type == "Replace") {
    steps_.emplace_back([replace = read_replacement(decoder)](Tokens tokens) {
      for (std::string& token : tokens) token = replace(token);
      return tokens;
    });
  } else if (type == "Strip") {
    steps_.emplace_back(Strip{decoder.member("content").text(), decoder.member("start").id(),
                              decoder.member("stop").id()});
  } else {
    decoder.fail_type();
  }
}

std::string TokenDecoder::operator()(std::vector<std::string> tokens) const {
  for (const auto& step : steps_) tokens = step(std::move(tokens));
  return fuse(tokens, separator_);
}

}  // namespace zerostream
