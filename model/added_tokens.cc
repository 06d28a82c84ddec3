#include "model/added_tokens.h"

#include <algorithm>
#include <limits>

#include "model/unicode_classes.h"
#include "model/utf8.h"

namespace zerostream {
namespace {

size_t character_before(std::string_view text, size_t position) {
  do {
    --position;
  } while (position > 0 && (static_cast<uint8_t>(text[position]) & 0xC0) == 0x80);
  return position;
}

size_t skip_spaces_back(std::string_view text, size_t position, size_t lowest) {
  while (position > lowest) {
    const size_t before = character_before(text, position);
    if (!is_white_space(utf8_at(text, before).code_point)) break;
    position = before;
  }
  return std::max(position, lowest);
}

size_t skip_spaces(std::string_view text, size_t position) {
  while (position < text.size()) {
    const Utf8Sequence next = utf8_at(text, position);
    if (!is_white_space(next.code_point)) break;
    position += next.bytes;
  }
  return position;
}

AddedToken read_token(const JsonPart& part) {
  part.member("id").id();
  AddedToken token{.content = part.member("content").text(),
                   .single_word = part.boolean("single_word", false),
                   .lstrip = part.boolean("lstrip", false),
                   .rstrip = part.boolean("rstrip", false),
                   .special = part.boolean("special", false)};
  token.normalized = part.boolean("normalized", !token.special);
  return token;
}

struct Match {
  size_t begin = 0;
  size_t end = 0;
  int32_t id = 0;
};

// The longest of the strings at the leftmost place at or after `start`.
std::optional<Match> find_longest(const PrefixTrie& trie, std::string_view text, size_t start) {
  if (trie.empty()) return std::nullopt;
  for (size_t begin = start; begin < text.size(); ++begin) {
    Match match;
    trie.each_prefix(text.substr(begin), [&](size_t bytes, int32_t id) {
      match = {begin, begin + bytes, id};
    });
    if (match.end > 0) return match;
  }
  return std::nullopt;
}

}  // namespace

AddedTokens::AddedTokens(const JsonPart& tokens, const Vocabulary& vocabulary,
                         const Normalizer& normalizer)
    : word_(kRustWordCharacter, "added tokens") {
  if (tokens.is_null()) return;
  std::vector<int32_t> in_order;
  for (const JsonPart& part : tokens.items()) {
    AddedToken token = read_token(part);
    if (!token.content.empty()) in_order.push_back(add(std::move(token), vocabulary, normalizer));
  }
  // Of entries for one token the last one counts.
  PrefixTrie::Entries raw, normalized;
  for (const int32_t id : in_order) {
    const AddedToken& token = tokens_.at(id);
    (token.normalized ? normalized : raw).emplace_back(token.content, id);
  }
  raw_ = PrefixTrie(std::move(raw));
  normalized_ = PrefixTrie(std::move(normalized));
}

int32_t AddedTokens::add(AddedToken token, const Vocabulary& vocabulary,
                         const Normalizer& normalizer) {
  if (token.special) specials_.insert(token.content);
  const auto known = ids_.find(token.content);
  std::optional<int32_t> id =
      known != ids_.end() ? std::optional(known->second) : vocabulary.token_to_id(token.content);
  if (!id) {
    id = std::max(highest_id_ + 1, static_cast<int32_t>(vocabulary.size()));
  }
  highest_id_ = std::max(highest_id_, *id);
  ids_.emplace(token.content, *id);
  if (token.normalized) token.content = normalizer(token.content);
  tokens_.insert_or_assign(*id, std::move(token));
  return *id;
}

const AddedToken* AddedTokens::find(int32_t id) const {
  const auto found = tokens_.find(id);
  return found == tokens_.end() ? nullptr : &found->second;
}

bool AddedTokens::is_word(std::string_view character) const {
  return !word_.find_all(character).empty();
}

bool AddedTokens::is_inside_word(std::string_view text, size_t begin, size_t end) const {
  if (begin > 0) {
    const size_t before = character_before(text, begin);
    if (is_word(text.substr(before, begin - before))) return true;
  }
  return end < text.size() && is_word(text.substr(end, utf8_at(text, end).bytes));
}

std::vector<TextPiece> AddedTokens::split(std::string_view text, bool normalized) const {
  const PrefixTrie& trie = normalized ? normalized_ : raw_;
  std::vector<TextPiece> pieces;
  size_t done = 0;
  for (auto match = find_longest(trie, text, 0); match;
       match = find_longest(trie, text, match->end)) {
    const AddedToken& token = tokens_.at(match->id);
    size_t begin = match->begin, end = match->end;
    if (token.single_word && is_inside_word(text, begin, end)) continue;
    if (token.lstrip) begin = skip_spaces_back(text, begin, done);
    if (token.rstrip) end = skip_spaces(text, end);
    if (done < begin) pieces.push_back({text.substr(done, begin - done), std::nullopt});
    // The token before may have taken all of this one as its spaces.
    if (begin < end) pieces.push_back({text.substr(begin, end - begin), match->id});
    done = end;
  }
  if (done < text.size()) pieces.push_back({text.substr(done), std::nullopt});
  return pieces;
}

}  // namespace zerostream
