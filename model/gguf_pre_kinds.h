// How byte-level tokenizers in GGUF files split text.
#pragma once

#include <array>
#include <string_view>

#include "model/tokenizer_json.h"

namespace zerostream {

// What tokenizer.json says and GGUF files keep in the word `tokenizer.ggml.pre` alone.
struct GgufPreKind {
  std::string_view name;
  // Patterns that split the text one after the other, the rest empty.
  std::array<std::string_view, 6> patterns = {};
  bool gpt2_pattern = false;  // that of GPT-2 after them
  bool nfc = false;
  bool ignore_merges = false;
  bool add_bos = false;  // where the file does not say
  bool add_eos = false;
};

// The kind of that name, "default" for null. Throws CheckpointError naming an unknown one.
const GgufPreKind& find_gguf_pre_kind(const JsonPart& pre);

}  // namespace zerostream
