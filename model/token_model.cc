#include "model/token_model.h"

#include <string>

namespace zerostream {
namespace {

// Files of old versions do not name the kind.
std::string kind_of(const JsonPart& model) {
  if (!model.member("type").is_null()) return model.type();
  if (!model.member("merges").is_null()) return "BPE";
  if (!model.member("continuing_subword_prefix").is_null()) return "WordPiece";
  return model.member("vocab").value().is_array() ? "Unigram" : "WordLevel";
}

}  // namespace

TokenModel::TokenModel(const JsonPart& model) : model_(read(model)) {}

TokenModel::Kinds TokenModel::read(const JsonPart& model) {
  const std::string kind = kind_of(model);
  if (kind == "BPE") return BpeModel(model);
  if (kind == "Unigram") return UnigramModel(model);
  if (kind == "WordPiece") return WordPieceModel(model);
  if (kind == "WordLevel") return WordLevelModel(model);
  model.fail_type();
}

}  // namespace zerostream
