// Splits text into the words that the model encodes one by one.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "model/split.h"
#include "model/tokenizer_json.h"

namespace zerostream {

// The "pre_tokenizer" of tokenizer.json: ByteLevel, Metaspace, Split, Digits, Punctuation,
// Whitespace, WhitespaceSplit, CharDelimiterSplit, FixedLength, UnicodeScripts, BertPreTokenizer
// and sequences of them.
//
// Threads: const methods from any. Errors: CheckpointError naming a kind that is not supported;
// UsageError for a text that becomes far too long.
class PreTokenizer {
 public:
  explicit PreTokenizer(const JsonPart& pre_tokenizer);  // null: a text is one word
  // The words of a text, none of them empty. at_start: nothing is before it in the text that the
  // user gave, which some tokenizers put a space before.
  std::vector<std::string> operator()(std::string_view text, bool at_start) const;

 private:
  struct Words {
    std::vector<std::string> list;
    bool at_start = false;  // the first one has nothing before it
  };
  using Step = std::function<void(Words&)>;
  // Appends the pieces of a word; whether the first one is its beginning.
  using Cut = std::function<bool(std::string_view, std::vector<std::string>&)>;

  void add(const JsonPart& pre_tokenizer);
  void add_byte_level(const JsonPart& part);
  void add_metaspace(const JsonPart& part);
  void add_cut(Cut cut);
  void add_split(SplitRule rule);

  std::vector<Step> steps_;
};

}  // namespace zerostream
