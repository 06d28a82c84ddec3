#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/fuzz_targets.h"

namespace zerostream {

void fuzz_tokenizer(std::string_view input) {
  const std::vector<std::string> parts = split_parts(input, 2);
  const Json json = parse_json(parts[0], "fuzz");
  use_tokenizer(*make_tokenizer(json, Json(), "fuzz"), parts[1]);
}

}  // namespace zerostream
