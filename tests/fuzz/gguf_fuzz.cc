#include "model/checkpoint.h"
#include "model/config.h"
#include "model/gguf.h"
#include "model/tensor_shape.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/fuzz_targets.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

void read_tokenizer(const Json& metadata) {
  try {
    use_tokenizer(*make_tokenizer(gguf_tokenizer_json(metadata, "fuzz"), Json(), "fuzz"),
                  "A text, 123!");
  } catch (const CheckpointError&) {
  } catch (const UsageError&) {
  }
}

}  // namespace

void fuzz_gguf(std::string_view input) {
  read_tokenizer(read_gguf_header(InputFile::of_bytes(std::string(input), "fuzz")).metadata);
  const MemoryFile file(input);
  const Checkpoint checkpoint = Checkpoint::open(file.path());
  checkpoint.fingerprint();
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    const int64_t rows = tensor.shape.at(0);
    if (rows == 0) continue;
    std::vector<float> row(static_cast<size_t>(element_count(tensor.shape).value() / rows));
    checkpoint.read_rows(tensor, rows - 1, 1, row.data());
  }
  parse_model_config(checkpoint.config(), "fuzz");
}

}  // namespace zerostream
