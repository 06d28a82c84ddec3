// How fast a device multiplies and attends, measured by using it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "base/device.h"
#include "base/kernels.h"
#include "offload/hardware_profile.h"
#include "offload/probe_samples.h"

namespace zerostream {

// The work goes through Device and Kernels as that of a run does. What it reads is in memory and in
// no cache of the host beforehand. Holds 64 MiB of the device's memory for weights, and for the
// rows of products 32 KiB each in fp32.
//
// Threads: one, which also makes and drops this. Errors: those of the device.
class ComputeProbe {
 public:
  // `most_rows`: of the products to come.
  ComputeProbe(Device& device, Kernels& kernels, int64_t most_rows, ProbeRounds rounds);
  ~ComputeProbe();

  // Products with weights of one kind, for each of `rows` (ascending). Nothing where the backend
  // lacks the kind.
  std::optional<GemmRates> gemm(DType weights, bool int8_activations,
                                std::span<const int64_t> rows);
  // Bytes of keys and values per second: sequences of 1,024 positions, one row each; 8 heads of
  // 128, each read by 4 query heads; keys and values in `dtype`.
  Rate attention(DType dtype);
  // Seconds of an operation with next to no work, as one of many.
  double launch_seconds();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Bytes per second that all processors of this process read from host memory. Takes 64 MiB.
Rate host_memory_rate(const ProbeRounds& rounds);

}  // namespace zerostream
