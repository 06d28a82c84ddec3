// GGUF files: header, metadata and tensor table.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/input_file.h"
#include "model/json.h"

namespace zerostream {

struct GgufTensor {
  std::string name;
  uint32_t type = 0;  // ggml's number
  std::vector<int64_t>
      shape;  // slowest dimension first, as Hugging Face writes shapes (the file has it reversed)
  int64_t offset = 0;  // from the beginning of the file
};

// Metadata values become JSON of the same kind; arrays JSON arrays.
struct GgufHeader {
  uint32_t version = 0;
  Json metadata;  // object: key -> value
  std::vector<GgufTensor> tensors;
};

// Reads the header (of version 2 or 3) with every length checked against the file before anything
// is allocated for it. Throws CheckpointError naming file and key or tensor.
GgufHeader read_gguf_header(const InputFile& file);
GgufHeader read_gguf_header(const std::string& path);

// The tokenizer that a GGUF file carries (`tokenizer.ggml.*`), as the content of a tokenizer.json:
// byte-level BPE ("gpt2" model) with its `pre` kind, sentencepiece ("llama", "t5"), as transformers
// uses them. CheckpointError naming the kind for others.
Json gguf_tokenizer_json(const Json& metadata, const std::string& source);

}  // namespace zerostream
