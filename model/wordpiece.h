// Words as the longest tokens that they begin with.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/prefix_trie.h"
#include "model/vocabulary.h"

namespace zerostream {

// The "WordPiece" model of tokenizer.json. Tokens within a word begin with a prefix ("##").
//
// Threads: const methods from any. Errors: CheckpointError naming the part of the file.
class WordPieceModel {
 public:
  explicit WordPieceModel(const JsonPart& model);

  // Appends the ids of a word, the longest possible token first. One unknown token for a word that
  // has too many characters or a rest without a token. Takes O(n * longest token).
  void encode(std::string_view word, std::vector<int32_t>& ids) const;

  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  bool split(std::string_view word, std::vector<int32_t>& ids) const;

  Vocabulary vocabulary_;
  PrefixTrie beginnings_, continuations_;
  std::string unknown_token_, where_;
  size_t most_characters_ = 0;
};

// The "WordLevel" model of tokenizer.json: a word is a token, or unknown. Threads and errors alike.
class WordLevelModel {
 public:
  explicit WordLevelModel(const JsonPart& model);
  void encode(std::string_view word, std::vector<int32_t>& ids) const;
  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  Vocabulary vocabulary_;
  std::string unknown_token_, where_;
};

}  // namespace zerostream
