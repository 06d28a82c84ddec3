// Words as the most likely sequence of tokens.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/prefix_trie.h"
#include "model/vocabulary.h"

namespace zerostream {

// The "Unigram" model of tokenizer.json: tokens with scores, their logarithmic probabilities.
// Scores are what Hugging Face reads them as, unless "exact_scores", our own key, says that they
// are not from JSON text.
//
// Threads: const methods from any. Errors: CheckpointError naming the part of the file.
class UnigramModel {
 public:
  explicit UnigramModel(const JsonPart& model);

  // Appends the ids of the tokens with the highest sum of scores; of equal sums the one whose last
  // token is longer. Takes O(n * longest token). A character without a token scores 10 less than
  // the worst token; a run of them becomes bytes ("<0x0A>") where the model has them, else one
  // unknown token.
  void encode(std::string_view word, std::vector<int32_t>& ids) const;

  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  // The best way to a place of the word: its last token and where that begins.
  struct Step {
    double score = 0;
    size_t begin = kUnreached;
    int32_t id = -1;
  };
  static constexpr size_t kUnreached = SIZE_MAX;

  void read_scores(const JsonPart& vocabulary, bool exact);
  std::vector<Step> best_steps(std::string_view word) const;
  void append_unknown(std::string_view text, std::vector<int32_t>& ids) const;
  int32_t unknown_id() const;

  Vocabulary vocabulary_;
  std::vector<double> scores_;
  PrefixTrie trie_;
  std::optional<int32_t> unknown_id_;
  double unknown_score_ = 0;
  bool byte_fallback_ = false;
  std::string where_;
};

}  // namespace zerostream
