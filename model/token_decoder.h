// Makes text of tokens.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "model/tokenizer_json.h"

namespace zerostream {

// The "decoder" of tokenizer.json: ByteLevel, Metaspace, WordPiece, BPEDecoder, CTC, Replace,
// ByteFallback, Fuse, Strip and sequences of them.
//
// Threads: const methods from any. Errors: CheckpointError naming a kind that is not supported;
// UsageError for tokens whose text becomes far too long.
class TokenDecoder {
 public:
  explicit TokenDecoder(const JsonPart& decoder);  // null: tokens with spaces between them
  std::string operator()(std::vector<std::string> tokens) const;

 private:
  using Tokens = std::vector<std::string>;

  void add(const JsonPart& decoder);

  std::vector<std::function<Tokens(Tokens)>> steps_;
  std::string separator_;
};

// The byte of a token like "<0x0A>", -1 for other tokens.
int byte_of_token(const std::string& token);

}  // namespace zerostream
