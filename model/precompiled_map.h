// The character map that a sentencepiece model carries.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace zerostream {

// Replaces beginnings of a text by what the map has for them: a double array of units over UTF-8
// bytes, whose values point into a blob of strings that end with NUL.
//
// Threads: const methods from any. Errors: CheckpointError naming `where` for a damaged map;
// UsageError for a text that becomes far too long.
class PrecompiledMap {
 public:
  // The map's bytes: size of the array in bytes (32 bits), array, blob; all little endian.
  PrecompiledMap(std::string_view bytes, const std::string& where);

  // Grapheme by grapheme, as Hugging Face does it: one of at most 5 bytes becomes what the map has
  // for the shortest beginning of it; others go character by character.
  std::string operator()(std::string_view text) const;

 private:
  std::optional<std::string_view> find(std::string_view text) const;
  void append(std::string& result, std::string_view text) const;

  std::vector<uint32_t> units_;
  std::string blob_;
};

// The bytes that base64 text stands for; CheckpointError naming `where` if it is none.
std::string decode_base64(std::string_view text, const std::string& where);
std::string encode_base64(std::string_view bytes);

}  // namespace zerostream
