// Puts special tokens around the ids of a text.
#pragma once

#include <cstdint>
#include <vector>

#include "model/tokenizer_json.h"

namespace zerostream {

// The "post_processor" of tokenizer.json, for single texts: TemplateProcessing, BertProcessing,
// RobertaProcessing, ByteLevel (which changes offsets only) and sequences of them.
//
// Threads: const methods from any. Errors: CheckpointError naming a kind that is not supported;
// UsageError for ids that become far too many.
class PostProcessor {
 public:
  explicit PostProcessor(const JsonPart& post_processor);  // null: nothing is added
  std::vector<int32_t> operator()(std::vector<int32_t> ids) const;

 private:
  struct Piece {
    bool is_text = false;
    std::vector<int32_t> ids = {};  // where it is not the text
  };
  using Template = std::vector<Piece>;

  void add(const JsonPart& post_processor);
  static Template read_template(const JsonPart& part);
  static Template read_cls_sep(const JsonPart& part);

  std::vector<Template> templates_;
};

}  // namespace zerostream
