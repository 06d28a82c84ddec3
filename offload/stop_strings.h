// Stop strings, found across token borders.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/tokenizer.h"

namespace zerostream {

// Watches one row's text for the first of its stop strings. Threads: one.
class StopStrings {
 public:
  StopStrings(const Tokenizer& tokenizer, std::vector<std::string> strings);
  // Takes the row's next token. Returns where in the row's text the earliest stop string begins,
  // once there is one.
  std::optional<size_t> push(int32_t token);

 private:
  StreamDecoder decoder_;
  std::vector<std::string> strings_;
  size_t longest_ = 0;
  std::string text_;
};

}  // namespace zerostream
