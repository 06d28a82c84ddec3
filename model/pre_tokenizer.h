// Splits text into the words that the model encodes one by one.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "model/tokenizer_json.h"

namespace zerostream {

// The "pre_tokenizer" of tokenizer.json: ByteLevel, Split, Digits, Punctuation, Whitespace,
// WhitespaceSplit, CharDelimiterSplit and sequences of them.
//
// Threads: const methods from any. Errors: CheckpointError naming a kind that is not supported.
class PreTokenizer {
 public:
  explicit PreTokenizer(const JsonPart& pre_tokenizer);  // null: a text is one word
  // The words of a text, none of them empty.
  std::vector<std::string> operator()(std::string_view text) const;

 private:
  using Words = std::vector<std::string>;

  void add(const JsonPart& pre_tokenizer);
  void add_byte_level(const JsonPart& part);

  std::vector<std::function<Words(Words)>> steps_;
};

}  // namespace zerostream
