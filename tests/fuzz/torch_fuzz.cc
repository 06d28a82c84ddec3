#include "model/torch_file.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/fuzz_targets.h"

namespace zerostream {

void fuzz_torch(std::string_view input) {
  const InputFile file = InputFile::of_bytes(std::string(input), "fuzz");
  for (const FileTensor& tensor : read_torch_file(file))
    expect(tensor.offset >= 0 && tensor.bytes >= 0 && tensor.offset <= file.size() &&
               tensor.bytes <= file.size() - tensor.offset,
           "tensors lie inside their file");
}

}  // namespace zerostream
