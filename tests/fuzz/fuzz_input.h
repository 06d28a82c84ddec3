// What fuzz targets share.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "model/tokenizer.h"

namespace zerostream {

inline constexpr std::string_view kPartBorder = "\n====\n";

// Exactly `count` parts of the input: missing ones are empty, what is left over belongs to the
// last.
std::vector<std::string> split_parts(std::string_view input, size_t count);

// Throws what no target accepts unless `holds`.
inline void expect(bool holds, const char* what) {
  if (!holds) throw std::logic_error(what);
}

// Bytes as a file that has a path. Not in any folder: gone with the object.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes);
  ~MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  int fd_;
  std::string path_;
};

// Encodes the text, and decodes what comes of it and the tokenizer's first ids, at once and one by
// one: text is UTF-8 at all times.
void use_tokenizer(const Tokenizer& tokenizer, std::string_view text);

}  // namespace zerostream
