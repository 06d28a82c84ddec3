#include "prefetch/slot_ring.h"

#include <algorithm>

#include "base/require.h"
#include "base/tensor.h"

namespace zerostream {
namespace {

constexpr int64_t kSlotAlignment = 4096;

}  // namespace

SlotRing::SlotRing(int64_t bytes, int max_slots)
    : bytes_(bytes), slots_(static_cast<size_t>(max_slots)) {
  require(bytes % kSlotAlignment == 0 && max_slots > 0,
          "a ring has whole pages and room for slots");
}

std::optional<int64_t> SlotRing::take(int64_t bytes) {
  if (taken_ == slots_.size()) return std::nullopt;
  const int64_t size = round_up(std::max<int64_t>(bytes, 1), kSlotAlignment);
  const std::optional<int64_t> begin = place(size);
  if (begin) slots_[(oldest_ + taken_++) % slots_.size()] = {*begin, *begin + size};
  return begin;
}

void SlotRing::give_back_oldest() {
  require(taken_ > 0, "only taken slots are given back");
  oldest_ = (oldest_ + 1) % slots_.size();
  --taken_;
}

std::optional<int64_t> SlotRing::place(int64_t bytes) const {
  if (taken_ == 0) return bytes <= bytes_ ? std::optional<int64_t>(0) : std::nullopt;
  const int64_t used_from = slots_[oldest_].begin;
  const int64_t used_to = slots_[(oldest_ + taken_ - 1) % slots_.size()].end;
  const bool wrapped = used_to <= used_from;
  if (used_to + bytes <= (wrapped ? used_from : bytes_)) return used_to;
  if (!wrapped && bytes <= used_from) return 0;
  return std::nullopt;
}

}  // namespace zerostream
