#include "model/prefix_trie.h"

#include <algorithm>

namespace zerostream {

// Nodes are made level by level: each stands for a range of the sorted strings with a common
// beginning, and its children for the ranges that the next byte cuts it into.
PrefixTrie::PrefixTrie(Entries entries) {
  std::erase_if(entries, [](const auto& entry) { return entry.first.empty(); });
  if (entries.empty()) return;
  std::stable_sort(entries.begin(), entries.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  struct Range {
    size_t begin, end, depth;
  };
  std::vector<Range> ranges = {{0, entries.size(), 0}};
  labels_ = {0};
  for (size_t node = 0; node < ranges.size(); ++node) {
    auto [begin, end, depth] = ranges[node];
    const bool ends_here = entries[begin].first.size() == depth;
    values_.push_back(ends_here ? entries[begin].second : -1);
    while (begin < end && entries[begin].first.size() == depth) ++begin;
    first_child_.push_back(static_cast<uint32_t>(ranges.size()));
    while (begin < end) {
      const char label = entries[begin].first[depth];
      size_t next = begin;
      while (next < end && entries[next].first[depth] == label) ++next;
      if (node == 0) roots_[static_cast<uint8_t>(label)] = static_cast<uint32_t>(ranges.size());
      ranges.push_back({begin, next, depth + 1});
      labels_.push_back(static_cast<uint8_t>(label));
      begin = next;
    }
  }
  first_child_.push_back(static_cast<uint32_t>(ranges.size()));
}

uint32_t PrefixTrie::child(uint32_t node, uint8_t label) const {
  const auto begin = labels_.begin() + first_child_[node];
  const auto end = labels_.begin() + first_child_[node + 1];
  const auto found = std::lower_bound(begin, end, label);
  if (found == end || *found != label) return kNone;
  return static_cast<uint32_t>(found - labels_.begin());
}

}  // namespace zerostream
