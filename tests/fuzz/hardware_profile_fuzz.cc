#include "offload/hardware_profile.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/fuzz_targets.h"

namespace zerostream {

void fuzz_hardware_profile(std::string_view input) {
  const MemoryFile file(input);
  const HardwareProfile profile = read_hardware_profile(file.path());
  const std::string text = hardware_profile_text(profile);
  const MemoryFile written(text);
  expect(hardware_profile_text(read_hardware_profile(written.path())) == text,
         "a profile reads back");
  for (const int64_t rows : {1, 100, 1'000'000'000})
    profile.gemm(DType::kI4, true).seconds(rows, 4096, 4096);
}

}  // namespace zerostream
