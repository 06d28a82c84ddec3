// Text to token ids and back, exactly as Hugging Face tokenizers do it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/json.h"

namespace zerostream {

// Threads: any. Text is UTF-8; invalid bytes in encode() throw UsageError with their offset.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  // Special and added tokens inside the text are recognised. add_special_tokens: the
  // post-processor's (BOS, ...).
  virtual std::vector<int32_t> encode(std::string_view text, bool add_special_tokens) const = 0;
  // As HF decode(): bytes that are no UTF-8 become U+FFFD. Ids out of the vocabulary throw
  // UsageError; those that no token has, but higher ones have, give no text.
  virtual std::string decode(std::span<const int32_t> ids, bool skip_special_tokens) const = 0;
  virtual int32_t vocab_size() const = 0;  // highest id + 1
  virtual std::optional<int32_t> token_to_id(std::string_view token) const = 0;
  virtual std::string id_to_token(int32_t id) const = 0;
};

// Decodes a row token by token: what push() returned so far and finish() together are decode() of
// all ids. Never emits half a character. Ids out of the vocabulary (a model may have more rows than
// its tokenizer has tokens) give no text. Borrows the tokenizer. Threads: one.
class StreamDecoder {
 public:
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens);
  std::string push(int32_t id);  // text that is final now, may be empty
  std::string finish();          // what was held back

 private:
  std::string window_text() const;
  std::string flush(const std::string& text);

  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  std::vector<int32_t> context_;  // final ids before the window, which its text may depend on
  size_t context_bytes_ = 0;      // of their text
  std::vector<int32_t> window_;   // ids whose text is not final yet
  std::string text_;              // of the window, without byte tokens at its end
  size_t emitted_ = 0;            // bytes of it that push() returned
};

// Makes a tokenizer from the content of tokenizer.json and (may be null) tokenizer_config.json. Of
// the latter nothing counts: Hugging Face's tokenizers library does not know it, and
// "clean_up_tokenization_spaces" would make no piece of a stream final. Truncation and padding do
// not count either.
// Throws CheckpointError naming the part that is damaged or not supported.
std::unique_ptr<Tokenizer> make_tokenizer(const Json& tokenizer, const Json& tokenizer_config,
                                          const std::string& source);

// Loads the tokenizer of a model folder (see folder_tokenizer.h), packed store, tokenizer.json,
// sentencepiece file (*.model) or GGUF file.
std::unique_ptr<Tokenizer> load_tokenizer(const std::string& path);

}  // namespace zerostream
