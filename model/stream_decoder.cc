#include <algorithm>
#include <string_view>
#include <utility>

#include "model/token_decoder.h"
#include "model/tokenizer.h"

namespace zerostream {
namespace {

constexpr std::string_view kReplacement = "\uFFFD";

}  // namespace

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
    : tokenizer_(&tokenizer), skip_special_tokens_(skip_special_tokens) {}

std::string StreamDecoder::window_text() const {
  std::vector<int32_t> ids = context_;
  ids.insert(ids.end(), window_.begin(), window_.end());
  const std::string text = tokenizer_->decode(ids, skip_special_tokens_);
  // A decoder that edits across tokens may take back what was final.
  return text.substr(std::min(context_bytes_, text.size()));
}

// Makes the window's text final. It becomes the context, or joins it if it says nothing.
std::string StreamDecoder::flush(const std::string& text) {
  std::string rest = text.substr(std::min(emitted_, text.size()));
  if (!text.empty()) context_.clear();
  context_.insert(context_.end(), window_.begin(), window_.end());
  context_bytes_ = tokenizer_->decode(context_, skip_special_tokens_).size();
  window_.clear();
  text_.clear();
  emitted_ = 0;
  return rest;
}

std::string StreamDecoder::push(int32_t id) {
  if (id < 0 || id >= tokenizer_->vocab_size()) return {};
  const std::string token = tokenizer_->id_to_token(id);
  if (token.empty()) return {};
  const std::string alone = tokenizer_->decode(std::span(&id, 1), skip_special_tokens_);
  const bool skipped = skip_special_tokens_ && alone.empty() &&
                       !tokenizer_->decode(std::span(&id, 1), false).empty();
  if (skipped) return {};
  window_.push_back(id);
  // A run of byte tokens is a text or garbage as a whole.
  if (byte_of_token(token) >= 0) return {};
  std::string text = window_text();
  if (!text.ends_with(kReplacement)) return flush(text);
  // The end may be the beginning of a character. If the token did not continue what was there
  // before it, then only the token itself is open.
  const size_t open = text.size() - kReplacement.size();
  std::string ready = emitted_ < open ? text.substr(emitted_, open - emitted_) : "";
  if (alone.ends_with(kReplacement) && text == text_ + alone) {
    window_ = {id};
    text = alone;
  }
  emitted_ = text.size() - kReplacement.size();
  text_ = std::move(text);
  return ready;
}

std::string StreamDecoder::finish() { return window_.empty() ? "" : flush(window_text()); }

}  // namespace zerostream
