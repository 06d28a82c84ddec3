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

// What is multiplied with.
struct WeightKind {
  DType dtype = DType::kBF16;
  bool int8_activations = false;
  WeightLayout layout = WeightLayout::kTile64;
};

// The work goes through Device and Kernels as that of a run does. What it reads is in memory and in
// no cache beforehand. Holds 64 MiB of the device's memory for weights (256 MiB where the device
// has memory of its own), and for the rows of products 32 KiB each in fp32. On a device with memory
// of its own that is too slow for such sizes (an emulated one) all of them are small, and products
// have no more than 32 rows.
//
// Threads: one, which also makes and drops this. Errors: those of the device.
class ComputeProbe {
 public:
  // `most_rows`: of the products to come.
  ComputeProbe(Device& device, Kernels& kernels, int64_t most_rows, ProbeRounds rounds);
  ~ComputeProbe();

  // Products with weights of one kind, for each of `rows` (ascending, the first is 1). Nothing
  // where the backend lacks the kind.
  std::optional<GemmRates> gemm(const WeightKind& kind, std::span<const int64_t> rows);
  // Bytes of keys and values per second: sequences of 1,024 positions, one row each; 8 heads of
  // 128, each read by 4 query heads; keys and values in `dtype`.
  Rate attention(DType dtype);
  // Flops per second (4 for each element of a key that a query sees): the last 512 rows of one such
  // sequence.
  Rate prompt_attention(DType dtype);
  // Seconds of an operation with next to no work, as one of many.
  double launch_seconds();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Bytes per second that all processors of this process read from host memory. Takes 64 MiB.
Rate host_memory_rate(const ProbeRounds& rounds);

}  // namespace zerostream
