#include "offload/placement_value.h"

#include <array>
#include <charconv>
#include <limits>
#include <string>

#include "base/bytes.h"
#include "offload/json_values.h"

namespace zerostream {
namespace {

constexpr std::array<std::string_view, 4> kNames = {"auto", "device", "host", "nvme"};
constexpr std::string_view kShareForm = "a share such as 4GiB, 10% or rest";

Share read_share(const Json& value) {
  if (value == "rest") return {};
  if (value.is_string() && value.get_ref<const std::string&>().ends_with('%')) {
    const std::string& text = value.get_ref<const std::string&>();
    double percent = -1;
    const char* end = text.data() + text.size() - 1;
    const auto parsed = std::from_chars(text.data(), end, percent);
    if (parsed.ptr != end || !(percent >= 0 && percent <= 100))
      throw BadValue{std::string(kShareForm)};
    return {.kind = Share::Kind::kFraction, .fraction = percent / 100};
  }
  try {
    return {.kind = Share::Kind::kBytes,
            .bytes = read_size(value, 0, std::numeric_limits<int64_t>::max())};
  } catch (const BadValue&) {
    throw BadValue{std::string(kShareForm)};
  }
}

Json share_json(const Share& share) {
  switch (share.kind) {
    case Share::Kind::kBytes:
      return share.bytes;
    case Share::Kind::kFraction:
      return std::to_string(100 * share.fraction) + "%";
    case Share::Kind::kRest:
      break;
  }
  return "rest";
}

}  // namespace

Placement read_placement(const Json& value) {
  if (!value.is_object()) {
    constexpr PlacementKind kKinds[] = {PlacementKind::kAuto, PlacementKind::kHost,
                                        PlacementKind::kHost, PlacementKind::kNvme};
    const size_t name = read_choice(value, kNames);
    Placement placement{.kind = kKinds[name]};
    if (kNames[name] == "device") placement.device = Share{};
    return placement;
  }
  Placement placement{.kind = PlacementKind::kShares};
  for (const auto& [tier, share] : value.items()) {
    if (tier == "device")
      placement.device = read_share(share);
    else if (tier == "host")
      placement.host = read_share(share);
    else if (tier == "nvme")
      placement.nvme = read_share(share);
    else
      throw BadValue{"a list of shares of device, host and nvme"};
  }
  double fractions = 0;
  for (const std::optional<Share>& share : {placement.device, placement.host, placement.nvme})
    if (share && share->kind == Share::Kind::kFraction) fractions += share->fraction;
  if (fractions > 1 + 1e-9) throw BadValue{"a list of shares of 100% together"};
  return placement;
}

Json placement_json(const Placement& placement) {
  switch (placement.kind) {
    case PlacementKind::kAuto:
      return "auto";
    case PlacementKind::kHost:
      return placement.device ? "device" : "host";
    case PlacementKind::kNvme:
      return "nvme";
    case PlacementKind::kShares:
      break;
  }
  Json shares = Json::object();
  if (placement.device) shares["device"] = share_json(*placement.device);
  if (placement.host) shares["host"] = share_json(*placement.host);
  if (placement.nvme) shares["nvme"] = share_json(*placement.nvme);
  return shares;
}

}  // namespace zerostream
