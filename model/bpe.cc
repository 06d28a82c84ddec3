#include "model/bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <queue>
#include <utility>

#include "model/utf8.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

// A merge that may be done at a place, best first in a priority queue.
struct Candidate {
  int32_t rank;
  int32_t position;
  int32_t id;
  bool operator<(const Candidate& other) const {
    return std::pair(rank, position) > std::pair(other.rank, other.position);
  }
};

}  // namespace

BpeModel::BpeModel(const JsonPart& model)
    : vocabulary_(model.member("vocab")), where_(model.where()) {
  if (!model.member("dropout").is_null() && model.member("dropout").value() != 0.0) {
    model.member("dropout").fail("random merges are not supported");
  }
  if (!model.member("unk_token").is_null()) unknown_token_ = model.member("unk_token").text();
  continuing_prefix_ = model.text("continuing_subword_prefix", "");
  end_suffix_ = model.text("end_of_word_suffix", "");
  fuse_unknown_ = model.boolean("fuse_unk", false);
  byte_fallback_ = model.boolean("byte_fallback", false);
  ignore_merges_ = model.boolean("ignore_merges", false);
  read_merges(model.member("merges"));
}

void BpeModel::read_merges(const JsonPart& merges) {
  if (!merges.value().is_array()) merges.fail("must be an array");
  merges_.reserve(merges.value().size());
  int32_t rank = 0;
  for (const JsonPart& merge : merges.items()) {
    if (merge.value().is_array()) {
      const std::vector<JsonPart> pair = merge.items();
      if (pair.size() != 2) merge.fail("must be a pair of tokens");
      add_merge(pair[0].text(), pair[1].text(), rank++, merge);
      continue;
    }
    const std::string text = merge.text();
    if (text.starts_with("#version")) continue;
    const size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
      merge.fail("must be two tokens with a space between them");
    }
    add_merge(text.substr(0, space), text.substr(space + 1), rank++, merge);
  }
}

void BpeModel::add_merge(const std::string& left, const std::string& right, int32_t rank,
                         const JsonPart& where) {
  if (right.size() < continuing_prefix_.size()) where.fail("lacks continuing_subword_prefix");
  const auto id_of = [&](const std::string& token) {
    return vocabulary_.require_id(token, where.where());
  };
  const int32_t id = id_of(left + right.substr(continuing_prefix_.size()));
  merges_.insert_or_assign(pair_key(id_of(left), id_of(right)), Merge{rank, id});
}

const BpeModel::Merge* BpeModel::find_merge(int32_t left, int32_t right) const {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

int32_t BpeModel::unknown_id() const {
  return vocabulary_.require_id(*unknown_token_, where_ + ".unk_token");
}

bool BpeModel::split_to_bytes(std::string_view text, std::vector<Symbol>& symbols) const {
  const bool all =
      std::all_of(text.begin(), text.end(), [this](char c) { return vocabulary_.byte_id(c) >= 0; });
  if (!all) return false;
  for (const char c : text) symbols.push_back({.id = vocabulary_.byte_id(c)});
  return true;
}

std::vector<BpeModel::Symbol> BpeModel::split(std::string_view word) const {
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  size_t unknown = 0;  // characters whose token waits for the next known one
  std::string text;
  const auto flush = [&] {
    if (unknown > 0)
      symbols.insert(symbols.end(), fuse_unknown_ ? 1 : unknown, {.id = unknown_id()});
    unknown = 0;
  };
  for (size_t i = 0; i < word.size();) {
    const size_t bytes = utf8_at(word, i).bytes;
    text = i == 0 ? "" : continuing_prefix_;
    text += word.substr(i, bytes);
    i += bytes;
    if (i == word.size()) text += end_suffix_;
    if (const std::optional<int32_t> id = vocabulary_.token_to_id(text)) {
      flush();
      symbols.push_back({.id = *id});
    } else if (byte_fallback_ && split_to_bytes(text, symbols)) {
      continue;
    } else if (unknown_token_) {
      ++unknown;
    }
  }
  flush();
  for (size_t i = 0; i < symbols.size(); ++i) {
    symbols[i].previous = static_cast<int32_t>(i) - 1;
    symbols[i].next = i + 1 < symbols.size() ? static_cast<int32_t>(i) + 1 : -1;
  }
  return symbols;
}

void BpeModel::merge_all(std::vector<Symbol>& symbols) const {
  std::vector<Candidate> first;
  for (size_t i = 0; i + 1 < symbols.size(); ++i) {
    if (const Merge* merge = find_merge(symbols[i].id, symbols[i + 1].id)) {
      first.push_back({merge->rank, static_cast<int32_t>(i), merge->id});
    }
  }
  std::priority_queue<Candidate> queue({}, std::move(first));
  const auto offer = [&](int32_t left, int32_t right) {
    if (left < 0 || right < 0) return;
    if (const Merge* merge = find_merge(symbols[left].id, symbols[right].id)) {
      queue.push({merge->rank, left, merge->id});
    }
  };
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[best.position];
    if (left.merged_away || left.next < 0) continue;
    Symbol& right = symbols[left.next];
    // The neighbours may have changed since, but what counts is the token that they make now.
    const Merge* merge = find_merge(left.id, right.id);
    if (merge == nullptr || merge->id != best.id) continue;
    left.id = best.id;
    left.next = right.next;
    right.merged_away = true;
    if (left.next >= 0) symbols[left.next].previous = best.position;
    offer(left.previous, best.position);
    offer(best.position, left.next);
  }
}

void BpeModel::encode(std::string_view word, std::vector<int32_t>& ids) const {
  if (ignore_merges_) {
    if (const std::optional<int32_t> id = vocabulary_.token_to_id(word)) {
      ids.push_back(*id);
      return;
    }
  }
  std::vector<Symbol> symbols = split(word);
  merge_all(symbols);
  for (const Symbol& symbol : symbols) {
    if (!symbol.merged_away) ids.push_back(symbol.id);
  }
}

}  // namespace zerostream
