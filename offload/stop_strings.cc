#include "offload/stop_strings.h"

#include <algorithm>

namespace zerostream {

StopStrings::StopStrings(const Tokenizer& tokenizer, std::vector<std::string> strings)
    : decoder_(tokenizer, true), strings_(std::move(strings)) {
  for (const std::string& string : strings_) longest_ = std::max(longest_, string.size());
}

std::optional<size_t> StopStrings::push(int32_t token) {
  const size_t searched = text_.size();
  text_ += decoder_.push(token);
  const size_t from = searched > longest_ ? searched - longest_ : 0;
  size_t first = std::string::npos;
  for (const std::string& string : strings_) first = std::min(first, text_.find(string, from));
  return first == std::string::npos ? std::nullopt : std::optional(first);
}

}  // namespace zerostream
