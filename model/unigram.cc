#include "model/unigram.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "model/utf8.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr double kUnknownPenalty = 10.0;

double power_of_ten(int exponent) {
  const std::string text = "1e" + std::to_string(exponent);
  double power = 0;
  std::from_chars(text.data(), text.data() + text.size(), power);
  return power;
}

// What Hugging Face's parser makes of a number in JSON text: digits, then one division or
// multiplication. It may be off by a bit, and that bit decides between equal sums.
double as_parsed(double value) {
  constexpr int kMostPower = 308;
  char text[32];
  const auto end =
      std::to_chars(text, text + sizeof text, std::abs(value), std::chars_format::scientific).ptr;
  const char* mark = std::find(text, end, 'e');
  uint64_t digits = 0;
  int exponent = 0;
  for (const char* c = text; c != mark; ++c) {
    if (*c != '.') digits = digits * 10 + static_cast<uint64_t>(*c - '0');
  }
  std::from_chars(mark + (mark[1] == '+' ? 2 : 1), end, exponent);
  if (mark > text + 1) exponent -= static_cast<int>(mark - text - 2);
  auto result = static_cast<double>(digits);
  if (exponent < -kMostPower) {
    result /= power_of_ten(kMostPower);
    exponent += kMostPower;
  }
  result = exponent < 0 ? result / power_of_ten(-exponent) : result * power_of_ten(exponent);
  return std::copysign(result, value);
}

PrefixTrie trie_of(const Vocabulary& vocabulary) {
  PrefixTrie::Entries entries(vocabulary.ids().begin(), vocabulary.ids().end());
  return PrefixTrie(std::move(entries));
}

}  // namespace

UnigramModel::UnigramModel(const JsonPart& model)
    : vocabulary_(model.member("vocab")), trie_(trie_of(vocabulary_)), where_(model.where()) {
  read_scores(model.member("vocab"), model.boolean("exact_scores", false));
  byte_fallback_ = model.boolean("byte_fallback", false);
  const JsonPart unknown = model.member("unk_id");
  if (unknown.is_null()) return;
  unknown_id_ = unknown.id();
  if (vocabulary_.id_to_token(*unknown_id_) == nullptr) unknown.fail("is not in the vocabulary");
}

void UnigramModel::read_scores(const JsonPart& vocabulary, bool exact) {
  double lowest = std::numeric_limits<double>::infinity();
  scores_.reserve(vocabulary_.size());
  for (const JsonPart& item : vocabulary.items()) {
    const Json& pair = item.value();
    if (!pair.is_array() || pair.size() != 2 || !pair[1].is_number()) {
      item.fail("must be a token and its score");
    }
    const auto score = pair[1].get<double>();
    scores_.push_back(exact ? score : as_parsed(score));
    lowest = std::min(lowest, scores_.back());
  }
  unknown_score_ = lowest - kUnknownPenalty;
}

int32_t UnigramModel::unknown_id() const {
  if (!unknown_id_) throw CheckpointError(where_ + ".unk_id: is missing and the text needs it");
  return *unknown_id_;
}

std::vector<UnigramModel::Step> UnigramModel::best_steps(std::string_view word) const {
  std::vector<Step> steps(word.size() + 1);
  for (size_t begin = 0; begin < word.size();) {
    const double score = steps[begin].score;
    const auto offer = [&](size_t bytes, double token_score, int32_t id) {
      Step& target = steps[begin + bytes];
      if (target.begin == kUnreached || token_score + score > target.score) {
        target = {token_score + score, begin, id};
      }
    };
    const size_t character = utf8_at(word, begin).bytes;
    bool known = false;
    trie_.each_prefix(word.substr(begin), [&](size_t bytes, int32_t id) {
      offer(bytes, scores_[static_cast<size_t>(id)], id);
      known |= bytes == character;
    });
    if (!known) offer(character, unknown_score_, unknown_id());
    begin += character;
  }
  return steps;
}

void UnigramModel::append_unknown(std::string_view text, std::vector<int32_t>& ids) const {
  if (const std::optional<int32_t> id = vocabulary_.token_to_id(text)) {
    ids.push_back(*id);
    return;
  }
  const bool bytes = byte_fallback_ && std::all_of(text.begin(), text.end(), [this](char c) {
                       return vocabulary_.byte_id(c) >= 0;
                     });
  if (!bytes) {
    ids.push_back(unknown_id());
    return;
  }
  for (const char c : text) ids.push_back(vocabulary_.byte_id(c));
}

void UnigramModel::encode(std::string_view word, std::vector<int32_t>& ids) const {
  const std::vector<Step> steps = best_steps(word);
  std::vector<size_t> ends;
  for (size_t end = word.size(); end > 0; end = steps[end].begin) ends.push_back(end);
  for (auto end = ends.rbegin(); end != ends.rend(); ++end) {
    const size_t begin = steps[*end].begin;
    if (steps[*end].id != unknown_id_) {
      ids.push_back(steps[*end].id);
      continue;
    }
    while (end + 1 != ends.rend() && steps[end[1]].id == unknown_id_) ++end;
    append_unknown(word.substr(begin, *end - begin), ids);
  }
}

}  // namespace zerostream
