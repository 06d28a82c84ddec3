// Room for segments in a ring of memory.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace zerostream {

// Hands out slots: contiguous, 4 KiB-aligned runs of a ring of bytes, in offsets. They are taken
// and given back in the same order. A slot that does not fit before the end of the ring begins at
// 0, so any size up to the ring's gets room once all others are gone. Allocates at construction
// only. Threads: one.
class SlotRing {
 public:
  // REQUIRES: bytes is a multiple of 4 KiB, max_slots > 0.
  SlotRing(int64_t bytes, int max_slots);
  // Offset of a slot of at least `bytes`, or nothing while there is no room or max_slots are taken.
  std::optional<int64_t> take(int64_t bytes);
  // REQUIRES: taken() > 0.
  void give_back_oldest();
  int taken() const { return static_cast<int>(taken_); }

 private:
  struct Slot {
    int64_t begin = 0;
    int64_t end = 0;
  };
  std::optional<int64_t> place(int64_t bytes) const;

  const int64_t bytes_;
  std::vector<Slot> slots_;  // a ring: taken_ slots from oldest_ on
  size_t oldest_ = 0;
  size_t taken_ = 0;
};

}  // namespace zerostream
