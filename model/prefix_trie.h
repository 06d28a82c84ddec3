// Finds strings at the beginning of a text.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace zerostream {

// A fixed set of strings, each with a value of at least 0. Of equal strings the first one counts;
// an empty one is never found. A step through the text costs O(log 256).
//
// Threads: const methods from any.
class PrefixTrie {
 public:
  using Entries = std::vector<std::pair<std::string, int32_t>>;

  PrefixTrie() = default;  // of no strings
  explicit PrefixTrie(Entries entries);

  bool empty() const { return values_.empty(); }

  // Calls found(bytes, value) for every string that the text begins with, the shortest first.
  template <typename Found>
  void each_prefix(std::string_view text, Found&& found) const {
    uint32_t node = text.empty() ? kNone : roots_[static_cast<uint8_t>(text[0])];
    for (size_t bytes = 1; node != kNone; ++bytes) {
      if (values_[node] >= 0) found(bytes, values_[node]);
      if (bytes == text.size()) break;
      node = child(node, static_cast<uint8_t>(text[bytes]));
    }
  }

 private:
  static constexpr uint32_t kNone = 0;  // the root, which is nobody's child

  uint32_t child(uint32_t node, uint8_t label) const;

  std::array<uint32_t, 256> roots_{};  // the root's children by label
  std::vector<uint32_t> first_child_;  // by node, one more than nodes; children are contiguous
  std::vector<uint8_t> labels_;        // by node: the byte that leads to it
  std::vector<int32_t> values_;        // by node, -1: none
};

}  // namespace zerostream
