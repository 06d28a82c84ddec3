// Tokenizers of Hugging Face folders.
#pragma once

#include <string>

#include "model/json.h"

namespace zerostream {

// The tokenizer of a folder as the content of a tokenizer.json: that file, or else what
// transformers makes of tokenizer.model or spiece.model (sentencepiece), vocab.json with merges.txt
// (byte-level BPE) or vocab.txt (WordPiece), each with tokenizer_config.json,
// special_tokens_map.json and added_tokens.json where they are there. Null if the folder has none
// of these.
//
// Throws CheckpointError naming the file that is damaged or not supported.
Json folder_tokenizer_json(const std::string& folder);

}  // namespace zerostream
