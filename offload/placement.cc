#include "offload/placement.h"

#include <algorithm>
#include <cmath>

#include "base/bytes.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

// Bytes that a share names; nothing for the rest.
std::optional<int64_t> named_bytes(const std::optional<Share>& share, int64_t total) {
  if (!share) return 0;
  switch (share->kind) {
    case Share::Kind::kBytes:
      return share->bytes;
    case Share::Kind::kFraction:
      return std::llround(share->fraction * static_cast<double>(total));
    case Share::Kind::kRest:
      break;
  }
  return std::nullopt;
}

}  // namespace

std::optional<int64_t> Placement::memory_bytes(int64_t total, const std::string& key) const {
  if (kind == PlacementKind::kAuto) return std::nullopt;
  if (kind == PlacementKind::kHost) return total;
  if (kind == PlacementKind::kNvme) return 0;
  int64_t named = 0;
  int rests = 0;
  for (const std::optional<Share>& share : {device, host, nvme}) {
    const std::optional<int64_t> bytes = named_bytes(share, total);
    named += bytes.value_or(0);
    rests += bytes ? 0 : 1;
  }
  if (rests > 1) throw UsageError(key + ": only one share can be the rest");
  if (rests == 0 && named < total)
    throw UsageError(key + ": the shares cover " + format_bytes(named) + " of " +
                     format_bytes(total) + "; make one of them 'rest'");
  const std::optional<int64_t> on_nvme = named_bytes(nvme, total);
  if (!on_nvme) return std::min(named, total);
  return std::max<int64_t>(total - *on_nvme, 0);
}

}  // namespace zerostream
