// Failures of the emulated runtime within a program that loads it as a module: the environment
// variable EMULATED_CUDA_FAILS names a function, or "kernel", and which of its calls fails.
#include <cstdlib>
#include <sstream>
#include <string>

#include "tests/cuda_emulator/emulator.h"

namespace {

struct FailuresOfModule {
  FailuresOfModule() {
    const char* wanted = std::getenv("EMULATED_CUDA_FAILS");
    if (wanted == nullptr) return;
    std::istringstream words(wanted);
    std::string function;
    int nth = 0;
    words >> function >> nth;
    cuda_emulator::fail_call(function, nth, cudaErrorIllegalAddress);
  }
};
const FailuresOfModule failures_of_module;

}  // namespace
