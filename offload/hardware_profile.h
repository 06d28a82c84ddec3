// What a machine can do, in numbers: measured by `zerostream probe`, or from data sheets.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/device.h"
#include "base/dtype.h"
#include "base/tensor.h"

namespace zerostream {

// A rate in units per second, with the spread of its measurements; low and high are 0 where there
// was one figure only.
struct Rate {
  double median = 0;
  double low = 0;
  double high = 0;
};

// Matrix products with weights of one kind in one layout: flops per second (2 per multiply-add) by
// rows of the source.
struct GemmRates {
  DType weights = DType::kBF16;  // kI8 and kI4: group-wise
  bool int8_activations = false;
  struct Point {
    int64_t rows = 0;
    Rate flops;
  };
  std::vector<Point> points;  // rows ascending, at least one
  WeightLayout layout = WeightLayout::kTile64;

  // Seconds of a product, by interpolation between points; outside them by the nearest.
  double seconds(int64_t rows, int64_t outputs, int64_t inputs) const;
};

struct HardwareProfile {
  std::string name;
  std::string source;  // how the figures came about, for people
  DeviceKind device = DeviceKind::kCpu;

  // How reading went with one engine and block size.
  struct ReadMode {
    std::string engine;
    bool direct = true;
    int64_t block_size = 0;  // bytes
    Rate rate;               // bytes/s
  };
  struct Storage {
    Rate read;                    // bytes/s, direct, large blocks, many in flight
    Rate write;                   // bytes/s; median 0: not known
    double latency_seconds = 0;   // of one small read
    std::vector<ReadMode> modes;  // what was tried, for people; may be empty
    // Share of `read` that each of N processes keeps when all read at once; index N - 1. Beyond
    // its end: 1 / N.
    std::vector<double> sharing;
  };
  struct Memory {
    int64_t bytes = 0;
    Rate read;  // bytes/s
  };
  // Between host memory and a device of its own; absent on a CPU.
  struct Link {
    Rate to_device;       // bytes/s, pinned, one device alone
    Rate from_device;     // bytes/s
    Rate both_ways = {};  // bytes/s of both together while both copy; median 0: not known
    Rate pageable_to_device = {}, pageable_from_device = {};  // not pinned; for people
    // Share of to_device that each of N devices keeps when all copy at once; index N - 1.
    std::vector<double> sharing;
  };
  struct Compute {
    Memory memory;  // the device's own; on a CPU the host's
    std::vector<GemmRates> gemm;
    Rate attention;             // bytes of K and V per second, decode attention
    Rate prompt_attention;      // flops/s of attention over a prompt; median 0: not known
    double launch_seconds = 0;  // fixed cost of one fused operation
  };
  std::optional<Storage> storage;
  Memory host;
  std::optional<Link> link;
  Compute compute;
  std::optional<Rate> peer_link;  // bytes/s into one device of an all-gather over N devices

  // The rates for weights of `dtype`; the nearest kind that the profile has where it lacks them.
  const GemmRates& gemm(DType weights, bool int8_activations,
                        WeightLayout layout = WeightLayout::kTile64) const;
  // True where weights of `dtype` in this layout have rates of their own.
  bool knows(DType weights, WeightLayout layout) const;
};

// YAML, one profile a file; docs/hardware-profiles.md has every key. Errors of reading: UsageError
// with file, line and key, as for run files.
HardwareProfile read_hardware_profile(const std::string& path);
std::string hardware_profile_text(const HardwareProfile& profile);

}  // namespace zerostream
