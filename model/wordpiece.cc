#include "model/wordpiece.h"

#include <utility>

#include "model/utf8.h"

namespace zerostream {
namespace {

constexpr int32_t kMostCharacters = 100;  // where the file does not say

// The tokens that begin with the prefix, without it.
PrefixTrie tokens_after(const std::string& prefix, const Vocabulary& vocabulary) {
  PrefixTrie::Entries entries;
  for (const auto& [token, id] : vocabulary.ids()) {
    if (token.starts_with(prefix)) entries.emplace_back(token.substr(prefix.size()), id);
  }
  return PrefixTrie(std::move(entries));
}

}  // namespace

WordPieceModel::WordPieceModel(const JsonPart& model)
    : vocabulary_(model.member("vocab")),
      beginnings_(tokens_after("", vocabulary_)),
      continuations_(tokens_after(model.text("continuing_subword_prefix", "##"), vocabulary_)),
      unknown_token_(model.text("unk_token", "[UNK]")),
      where_(model.where()) {
  const JsonPart most = model.member("max_input_chars_per_word");
  most_characters_ = static_cast<size_t>(most.is_null() ? kMostCharacters : most.id());
}

bool WordPieceModel::split(std::string_view word, std::vector<int32_t>& ids) const {
  size_t characters = 0;
  for (size_t i = 0; i < word.size(); i += utf8_at(word, i).bytes) ++characters;
  if (characters > most_characters_) return false;
  for (size_t begin = 0; begin < word.size();) {
    size_t longest = 0;
    int32_t token = -1;
    const PrefixTrie& trie = begin == 0 ? beginnings_ : continuations_;
    trie.each_prefix(word.substr(begin), [&](size_t bytes, int32_t id) {
      longest = bytes;
      token = id;
    });
    if (longest == 0) return false;
    ids.push_back(token);
    begin += longest;
  }
  return true;
}

void WordPieceModel::encode(std::string_view word, std::vector<int32_t>& ids) const {
  const size_t before = ids.size();
  if (split(word, ids)) return;
  ids.resize(before);
  ids.push_back(vocabulary_.require_id(unknown_token_, where_ + ".unk_token"));
}

WordLevelModel::WordLevelModel(const JsonPart& model)
    : vocabulary_(model.member("vocab")),
      unknown_token_(model.text("unk_token", "<unk>")),
      where_(model.where()) {}

void WordLevelModel::encode(std::string_view word, std::vector<int32_t>& ids) const {
  const std::optional<int32_t> id = vocabulary_.token_to_id(word);
  ids.push_back(id ? *id : vocabulary_.require_id(unknown_token_, where_ + ".unk_token"));
}

}  // namespace zerostream
