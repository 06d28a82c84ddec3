#include "prefetch/slot_ring.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>

#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int64_t kPage = 4096;

TEST(SlotRing, FillsTheRingExactly) {
  SlotRing ring(4 * kPage, 8);
  for (int64_t i = 0; i < 4; ++i) EXPECT_EQ(ring.take(kPage), i * kPage);
  EXPECT_EQ(ring.take(1), std::nullopt);
  ring.give_back_oldest();
  EXPECT_EQ(ring.take(2 * kPage), std::nullopt);
  EXPECT_EQ(ring.take(kPage), 0);
}

TEST(SlotRing, NeverWrapsWithinASlot) {
  SlotRing ring(4 * kPage, 8);
  EXPECT_EQ(ring.take(2 * kPage), 0);
  EXPECT_EQ(ring.take(kPage), 2 * kPage);
  ring.give_back_oldest();
  EXPECT_EQ(ring.take(2 * kPage), 0);  // one page is left behind, and not used
  EXPECT_EQ(ring.take(1), std::nullopt);
}

TEST(SlotRing, RoundsUpToPages) {
  SlotRing ring(2 * kPage, 8);
  EXPECT_EQ(ring.take(0), 0);
  EXPECT_EQ(ring.take(1), kPage);
  EXPECT_EQ(ring.take(1), std::nullopt);
}

TEST(SlotRing, HoldsNoMoreSlotsThanAllowed) {
  SlotRing ring(10 * kPage, 2);
  EXPECT_TRUE(ring.take(1));
  EXPECT_TRUE(ring.take(1));
  EXPECT_FALSE(ring.take(1));
  ring.give_back_oldest();
  EXPECT_TRUE(ring.take(1));
}

TEST(SlotRing, ABrokenPromiseIsSaid) {
  EXPECT_THROW(SlotRing(100, 1), InternalError);
  EXPECT_THROW(SlotRing(kPage, 0), InternalError);
  EXPECT_THROW(SlotRing(kPage, 1).give_back_oldest(), InternalError);
}

// Slots lie within the ring and never share a byte; whatever fits the ring fits an empty one.
TEST(SlotRing, RandomSizes) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    std::mt19937_64 random(seed);
    const int64_t pages = 1 + static_cast<int64_t>(random() % 40);
    const int max_slots = 1 + static_cast<int>(random() % 8);
    SlotRing ring(pages * kPage, max_slots);
    std::deque<std::pair<int64_t, int64_t>> taken;
    for (int step = 0; step < 2000; ++step) {
      if (random() % 3 == 0 && !taken.empty()) {
        ring.give_back_oldest();
        taken.pop_front();
        continue;
      }
      const int64_t bytes =
          1 + static_cast<int64_t>(random() % static_cast<uint64_t>(pages * kPage));
      const auto begin = ring.take(bytes);
      if (taken.empty()) {
        ASSERT_TRUE(begin) << bytes;
      }
      if (!begin) continue;
      EXPECT_EQ(*begin % kPage, 0);
      EXPECT_GE(*begin, 0);
      EXPECT_LE(*begin + bytes, pages * kPage);
      for (const auto& [from, to] : taken)
        EXPECT_TRUE(*begin + bytes <= from || to <= *begin) << "seed " << seed;
      taken.emplace_back(*begin, *begin + bytes);
      ASSERT_LE(ring.taken(), max_slots);
      ASSERT_EQ(static_cast<size_t>(ring.taken()), taken.size());
    }
  }
}

}  // namespace
}  // namespace zerostream
