#include "model/tokenizer.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "model/added_tokens.h"
#include "model/normalizer.h"
#include "model/post_processor.h"
#include "model/pre_tokenizer.h"
#include "model/token_decoder.h"
#include "model/token_model.h"
#include "model/tokenizer_json.h"
#include "model/utf8.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr size_t kLongestCachedWord = 256;

// Text through the parts of a tokenizer.json, one after the other.
class PipelineTokenizer final : public Tokenizer {
 public:
  explicit PipelineTokenizer(const JsonPart& root)
      : model_(root.member("model")),
        normalizer_(root.member("normalizer")),
        added_(root.member("added_tokens"), model_.vocabulary(), normalizer_),
        pre_tokenizer_(root.member("pre_tokenizer")),
        post_processor_(root.member("post_processor")),
        decoder_(root.member("decoder")) {
    vocab_size_ = model_.vocabulary().highest_id() + 1;
    for (const auto& [token, id] : added_.ids()) vocab_size_ = std::max(vocab_size_, id + 1);
  }

  std::vector<int32_t> encode(std::string_view text, bool add_special_tokens) const override {
    const size_t invalid = find_invalid_utf8(text);
    if (invalid != std::string_view::npos) {
      throw UsageError("text is not valid UTF-8 at byte " + std::to_string(invalid));
    }
    std::vector<int32_t> ids;
    WordCache cache;
    for (const TextPiece& piece : added_.split(text, false)) {
      if (piece.token) {
        ids.push_back(*piece.token);
      } else {
        const bool at_start = piece.text.data() == text.data();
        encode_normalized(normalizer_(piece.text), at_start, cache, ids);
      }
    }
    return add_special_tokens ? post_processor_(std::move(ids)) : ids;
  }

  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens) const override {
    std::vector<std::string> tokens;
    tokens.reserve(ids.size());
    for (const int32_t id : ids) {
      const std::string& token = token_of(id);
      if (token.empty() || (skip_special_tokens && added_.is_special(token))) continue;
      tokens.push_back(token);
    }
    return decoder_(std::move(tokens));
  }

  int32_t vocab_size() const override { return vocab_size_; }

  std::optional<int32_t> token_to_id(std::string_view token) const override {
    const auto added = added_.ids().find(token);
    return added != added_.ids().end() ? std::optional(added->second)
                                       : model_.vocabulary().token_to_id(token);
  }

  std::string id_to_token(int32_t id) const override { return token_of(id); }

 private:
  using WordCache =
      std::unordered_map<std::string, std::vector<int32_t>, StringHash, std::equal_to<>>;

  void encode_normalized(const std::string& text, bool at_start, WordCache& cache,
                         std::vector<int32_t>& ids) const {
    for (const TextPiece& piece : added_.split(text, true)) {
      if (piece.token) {
        ids.push_back(*piece.token);
        continue;
      }
      const bool first = at_start && piece.text.data() == text.data();
      for (const std::string& word : pre_tokenizer_(piece.text, first)) {
        encode_word(word, cache, ids);
      }
    }
  }

  void encode_word(const std::string& word, WordCache& cache, std::vector<int32_t>& ids) const {
    if (word.size() > kLongestCachedWord) return model_.encode(word, ids);
    const auto [entry, is_new] = cache.try_emplace(word);
    if (is_new) model_.encode(word, entry->second);
    ids.insert(ids.end(), entry->second.begin(), entry->second.end());
  }

  // Empty for an id between those of the vocabulary.
  const std::string& token_of(int32_t id) const {
    static const std::string kNone;
    if (id < 0 || id >= vocab_size_) {
      throw UsageError("token id " + std::to_string(id) + " is not in the vocabulary of " +
                       std::to_string(vocab_size_));
    }
    if (const AddedToken* added = added_.find(id)) return added->content;
    const std::string* token = model_.vocabulary().id_to_token(id);
    return token == nullptr ? kNone : *token;
  }

  TokenModel model_;
  Normalizer normalizer_;
  AddedTokens added_;
  PreTokenizer pre_tokenizer_;
  PostProcessor post_processor_;
  TokenDecoder decoder_;
  int32_t vocab_size_ = 0;
};

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer(const Json& tokenizer, const Json&,
                                          const std::string& source) {
  return std::make_unique<PipelineTokenizer>(JsonPart(tokenizer, source + ": "));
}

}  // namespace zerostream
