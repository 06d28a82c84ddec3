// The part of a tokenizer that turns a word into ids.
#pragma once

#include <string_view>
#include <variant>
#include <vector>

#include "model/bpe.h"
#include "model/unigram.h"
#include "model/wordpiece.h"

namespace zerostream {

// The "model" of tokenizer.json: BPE, Unigram, WordPiece or WordLevel.
//
// Threads: const methods from any. Errors: CheckpointError naming a kind that is not supported.
class TokenModel {
 public:
  explicit TokenModel(const JsonPart& model);

  void encode(std::string_view word, std::vector<int32_t>& ids) const {
    std::visit([&](const auto& model) { model.encode(word, ids); }, model_);
  }
  const Vocabulary& vocabulary() const {
    return std::visit([](const auto& model) -> const Vocabulary& { return model.vocabulary(); },
                      model_);
  }

 private:
  using Kinds = std::variant<BpeModel, UnigramModel, WordPieceModel, WordLevelModel>;
  static Kinds read(const JsonPart& model);

  Kinds model_;
};

}  // namespace zerostream
