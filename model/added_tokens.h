// Tokens that are found in the text before the model sees it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "model/normalizer.h"
#include "model/prefix_trie.h"
#include "model/regex.h"
#include "model/tokenizer_json.h"
#include "model/vocabulary.h"

namespace zerostream {

// A stretch of text, or an added token in its place.
struct TextPiece {
  std::string_view text;
  std::optional<int32_t> token;
};

struct AddedToken {
  std::string content;
  bool single_word = false;  // only where no word character is next to it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // and after it
  bool normalized = true;    // is looked for in normalised text, itself normalised
  bool special = false;      // left out by decode() on request
};

// The "added_tokens" of tokenizer.json. A token that the model has keeps the model's id; others get
// the ids after the model's, whatever id the file gives, as Hugging Face does it.
//
// Threads: const methods from any. Errors: CheckpointError naming the token.
class AddedTokens {
 public:
  AddedTokens(const JsonPart& tokens, const Vocabulary& vocabulary, const Normalizer& normalizer);

  // Splits at tokens to be found in the text as it is (false) or normalised (true). Pieces point
  // into the text.
  std::vector<TextPiece> split(std::string_view text, bool normalized) const;

  const TokenIds& ids() const { return ids_; }
  // Null if it is none. Its content is normalised if the token is.
  const AddedToken* find(int32_t id) const;
  bool is_special(std::string_view token) const { return specials_.contains(std::string(token)); }

 private:
  int32_t add(AddedToken token, const Vocabulary& vocabulary, const Normalizer& normalizer);
  bool is_word(std::string_view character) const;
  bool is_inside_word(std::string_view text, size_t begin, size_t end) const;

  TokenIds ids_;
  std::unordered_map<int32_t, AddedToken> tokens_;
  std::unordered_set<std::string> specials_;
  PrefixTrie raw_, normalized_;
  Regex word_;
  int32_t highest_id_ = -1;
};

}  // namespace zerostream
