// Where bytes rest.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace zerostream {

// A part of something, as the user asks for it.
struct Share {
  enum class Kind : uint8_t { kBytes, kFraction, kRest };
  Kind kind = Kind::kRest;
  int64_t bytes = 0;    // kBytes
  double fraction = 0;  // kFraction, 0 to 1
};

enum class PlacementKind : uint8_t {
  kAuto,    // as much in memory as there is room for
  kHost,    // everything in memory
  kNvme,    // everything on storage
  kShares,  // as `device`, `host` and `nvme` say
};

// Of weights: what rests in memory, and what streams from the store at every pass. Of keys and
// values: what stays in memory, and what is written to storage and read at every pass.
struct Placement {
  PlacementKind kind = PlacementKind::kAuto;
  // kShares; absent: nothing. kHost: `device` is there if it was written as "device".
  std::optional<Share> device = {};
  std::optional<Share> host = {};
  std::optional<Share> nvme = {};

  // Bytes of `total` that are to rest on the device and in host memory together; nothing: as much
  // as there is room for. Throws UsageError naming `key` when the shares do not add up to all.
  std::optional<int64_t> memory_bytes(int64_t total, const std::string& key) const;
};

}  // namespace zerostream
