// Lines of a file or of stdin, one at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "nvme/file.h"

namespace zerostream {

// Reads lines in order, holding one line and a buffer of 1 MiB. The line border "\n" is not part of
// a line; a last line without it counts.
//
// Threads: one. Blocks while stdin has nothing; gives up within 0.1 s once `*stop` is true, and
// next() then returns nothing. Errors: IoError with path and errno.
class LineReader {
 public:
  static constexpr size_t kMostLineBytes = 100'000'000;

  struct Line {
    std::string text;
    int64_t number = 0;     // from 1
    bool too_long = false;  // longer than kMostLineBytes; text is then empty
  };

  // "-": stdin. `stop` must outlive this.
  LineReader(const std::string& path, const std::atomic<bool>& stop);
  std::optional<Line> next();

 private:
  bool fill();  // false at the end or when stopped

  File file_;
  std::string path_;
  int fd_;
  const std::atomic<bool>& stop_;
  std::string buffer_;
  size_t begin_ = 0;  // of what is not consumed yet
  int64_t lines_ = 0;
};

}  // namespace zerostream
