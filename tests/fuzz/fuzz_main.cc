// One fuzz target as libFuzzer calls it; ZS_FUZZ_TARGET is its function.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/fuzz_targets.h"
#include "zerostream/error.h"

extern "C" __attribute__((visibility("default"))) int LLVMFuzzerTestOneInput(const uint8_t* data,
                                                                             size_t size) {
  try {
    zerostream::ZS_FUZZ_TARGET({reinterpret_cast<const char*>(data), size});
  } catch (const zerostream::InternalError&) {
    throw;
  } catch (const zerostream::Error&) {
  }
  return 0;
}
