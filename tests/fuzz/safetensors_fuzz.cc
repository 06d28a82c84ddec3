#include "model/safetensors.h"
#include "tests/fuzz/fuzz_targets.h"

namespace zerostream {

void fuzz_safetensors(std::string_view input) {
  read_safetensors_header(InputFile::of_bytes(std::string(input), "fuzz"));
}

}  // namespace zerostream
