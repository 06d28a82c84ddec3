#include "model/pickle.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/fuzz_targets.h"

namespace zerostream {

void fuzz_pickle(std::string_view input) {
  constexpr std::array<std::string_view, 4> kAllowed = {
      "collections.OrderedDict", "torch._utils._rebuild_tensor_v2",
      "torch._utils._rebuild_parameter", "torch.FloatStorage"};
  const Pickle pickle = parse_pickle(input, kAllowed, "fuzz");
  expect(pickle.root < pickle.values.size(), "the root is one of the values");
  for (const PickleValue& value : pickle.values)
    for (const uint32_t part : value.parts)
      expect(part < pickle.values.size(), "parts are among the values");
}

}  // namespace zerostream
