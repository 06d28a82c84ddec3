#include "model/token_decoder.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>

#include "model/byte_level.h"
#include "model/metaspace.h"
#include "model/text_edit.h"
#include "model/utf8.h"

namespace zerostream {
namespace {

using Tokens = std::vector<std::string>;

size_t total_bytes(const Tokens& tokens) {
  size_t bytes = 0;
  for (const std::string& token : tokens) bytes += token.size();
  return bytes;
}

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
      std::string_view left = token;
      for (int32_t i = 0; i < start && left.starts_with(content); ++i) {
        left.remove_prefix(content.size());
      }
      for (int32_t i = 0; i < stop && left.ends_with(content); ++i) {
        left.remove_suffix(content.size());
      }
      token = std::string(left);
    }
    return tokens;
  }
};

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string result;
  size_t done = 0;
  for (size_t found; (found = text.find(from, done)) != std::string_view::npos;) {
    result.append(text.substr(done, found - done)).append(to);
    done = found + from.size();
  }
  return result.append(text.substr(done));
}

// Takes back the spaces that splitting put before marks and endings.
std::string clean_up(std::string text) {
  static constexpr std::pair<std::string_view, std::string_view> kEdits[] = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : kEdits) text = replace_all(text, from, to);
  return text;
}

// Tokens within a word begin with a prefix.
struct WordPieces {
  std::string prefix;
  bool clean = true;

  Tokens operator()(Tokens tokens) const {
    for (std::string& token : tokens) {
      if (&token != &tokens.front()) {
        if (token.starts_with(prefix)) {
          token.erase(0, prefix.size());
        } else {
          token.insert(0, 1, ' ');
        }
      }
      if (clean) token = clean_up(std::move(token));
    }
    return tokens;
  }
};

// Marks of spaces become spaces, but none at the beginning where one was put before the text.
Tokens decode_metaspace(const Metaspace& metaspace, Tokens tokens) {
  const bool added = metaspace.prepend != Metaspace::Prepend::kNever;
  for (std::string& token : tokens) {
    const bool first = &token == &tokens.front();
    token = replace_all(token, metaspace.mark, first && added ? "" : " ");
  }
  return tokens;
}

// The last token of a word ends with a suffix.
Tokens decode_suffixes(const std::string& suffix, Tokens tokens) {
  for (std::string& token : tokens) {
    token = replace_all(token, suffix, &token == &tokens.back() ? "" : " ");
  }
  return tokens;
}

// Tokens of a recogniser that says one for every moment: runs of equal ones count once.
struct Recognised {
  std::string pad, delimiter;
  bool clean = true;

  Tokens operator()(Tokens tokens) const {
    tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
    for (std::string& token : tokens) {
      token = replace_all(token, pad, "");
      if (clean) token = replace_all(clean_up(std::move(token)), delimiter, " ");
    }
    std::erase_if(tokens, [](const std::string& token) { return token.empty(); });
    return tokens;
  }
};

std::string not_empty(const JsonPart& part) {
  std::string text = part.text();
  if (text.empty()) part.fail("must not be empty");
  return text;
}

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
  } else if (type == "Metaspace") {
    steps_.emplace_back([metaspace = Metaspace(decoder)](Tokens tokens) {
      return decode_metaspace(metaspace, std::move(tokens));
    });
  } else if (type == "WordPiece") {
    steps_.emplace_back(WordPieces{decoder.text("prefix", "##"), decoder.boolean("cleanup", true)});
  } else if (type == "BPEDecoder") {
    steps_.emplace_back([suffix = not_empty(decoder.member("suffix"))](Tokens tokens) {
      return decode_suffixes(suffix, std::move(tokens));
    });
  } else if (type == "CTC") {
    steps_.emplace_back(Recognised{not_empty(decoder.member("pad_token")),
                                   not_empty(decoder.member("word_delimiter_token")),
                                   decoder.boolean("cleanup", true)});
  } else if (type == "Fuse") {
    steps_.emplace_back([](const Tokens& tokens) { return Tokens{fuse(tokens)}; });
  } else if (type == "Replace") {
    steps_.emplace_back([replace = read_replacement(decoder)](Tokens tokens) {
      for (std::string& token : tokens) token = replace(token);
      return tokens;
    });
  } else if (type == "Strip") {
    steps_.emplace_back(Strip{not_empty(decoder.member("content")), decoder.member("start").id(),
                              decoder.member("stop").id()});
  } else {
    decoder.fail_type();
  }
}

std::string TokenDecoder::operator()(std::vector<std::string> tokens) const {
  const size_t given = total_bytes(tokens) + tokens.size();
  for (const auto& step : steps_) {
    tokens = step(std::move(tokens));
    check_growth(given, total_bytes(tokens));
  }
  return fuse(tokens, separator_);
}

}  // namespace zerostream
