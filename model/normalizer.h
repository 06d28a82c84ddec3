// What is done to a text before it is split.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "model/tokenizer_json.h"

namespace zerostream {

// The "normalizer" of tokenizer.json: NFC, NFD, NFKC, NFKD, Nmt, Precompiled, Strip, StripAccents,
// Lowercase, BertNormalizer, ByteLevel, Prepend, Replace and sequences of them.
//
// Threads: const methods from any. Errors: CheckpointError naming a kind that is not supported;
// UsageError for a text that becomes far too long.
class Normalizer {
 public:
  explicit Normalizer(const JsonPart& normalizer);  // null: nothing is done
  std::string operator()(std::string_view text) const;

 private:
  void add(const JsonPart& normalizer);

  std::vector<std::function<std::string(const std::string&)>> steps_;
};

}  // namespace zerostream
