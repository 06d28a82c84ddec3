#include "model/split.h"

#include <algorithm>

namespace zerostream {
namespace {

struct Span {
  size_t begin = 0;
  size_t end = 0;
  bool match = false;
};

// The whole text in matches and what lies between them.
std::vector<Span> find_spans(std::string_view text, const SplitRule& rule) {
  std::vector<Span> spans;
  size_t done = 0;
  for (const Regex::Match& match : rule.pattern.find_all(text)) {
    if (done < match.begin) spans.push_back({done, match.begin, rule.inverted});
    spans.push_back({match.begin, match.end, !rule.inverted});
    done = match.end;
  }
  if (done < text.size()) spans.push_back({done, text.size(), rule.inverted});
  return spans;
}

std::vector<Span> merge_with_previous(const std::vector<Span>& spans) {
  std::vector<Span> merged;
  bool after_match = false;
  for (const Span& span : spans) {
    if (span.match && !after_match && !merged.empty()) {
      merged.back().end = span.end;
    } else {
      merged.push_back(span);
    }
    after_match = span.match;
  }
  return merged;
}

std::vector<Span> merge_with_next(const std::vector<Span>& spans) {
  std::vector<Span> merged;
  bool before_match = false;
  for (auto span = spans.rbegin(); span != spans.rend(); ++span) {
    if (span->match && !before_match && !merged.empty()) {
      merged.back().begin = span->begin;
    } else {
      merged.push_back(*span);
    }
    before_match = span->match;
  }
  std::reverse(merged.begin(), merged.end());
  return merged;
}

std::vector<Span> merge_contiguous(const std::vector<Span>& spans) {
  std::vector<Span> merged;
  for (const Span& span : spans) {
    if (!merged.empty() && merged.back().match == span.match) {
      merged.back().end = span.end;
    } else {
      merged.push_back(span);
    }
  }
  return merged;
}

}  // namespace

SplitBehavior read_split_behavior(const JsonPart& part) {
  const std::string name = part.text();
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  part.fail("\"" + name + "\" is no way to split");
}

bool split_text(std::string_view text, const SplitRule& rule, std::vector<std::string>& pieces) {
  std::vector<Span> spans = find_spans(text, rule);
  switch (rule.behavior) {
    case SplitBehavior::kRemoved:
      std::erase_if(spans, [](const Span& span) { return span.match; });
      break;
    case SplitBehavior::kIsolated:
      break;
    case SplitBehavior::kMergedWithPrevious:
      spans = merge_with_previous(spans);
      break;
    case SplitBehavior::kMergedWithNext:
      spans = merge_with_next(spans);
      break;
    case SplitBehavior::kContiguous:
      spans = merge_contiguous(spans);
      break;
  }
  for (const Span& span : spans) {
    if (span.begin < span.end) pieces.emplace_back(text.substr(span.begin, span.end - span.begin));
  }
  return !spans.empty() && spans.front().begin == 0;
}

}  // namespace zerostream
