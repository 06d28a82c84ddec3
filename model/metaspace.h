// The "Metaspace" part of tokenizer.json, which stands for a pre-tokenizer and for a decoder.
#pragma once

#include <string>

#include "model/tokenizer_json.h"

namespace zerostream {

// Spaces are written as a mark. Old files say "add_prefix_space", new ones "prepend_scheme".
// Errors: CheckpointError naming the part.
struct Metaspace {
  // Where a mark is put before a text that does not begin with one.
  enum class Prepend { kAlways, kFirst, kNever };

  explicit Metaspace(const JsonPart& part);

  std::string mark;
  Prepend prepend = Prepend::kAlways;
  bool split = true;  // into words at the marks
};

}  // namespace zerostream
