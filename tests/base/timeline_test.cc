#include "base/timeline.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/count_allocations.h"

namespace zerostream {
namespace {

TEST(Timeline, KeepsWhatWasAdded) {
  Timeline timeline(4);
  timeline.add(Track::kRead, "layers.0.mlp", 10, 20);
  timeline.add(Track::kWait, "", 20, 15);
  const auto spans = timeline.take();
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[0].track, Track::kRead);
  EXPECT_STREQ(spans[0].name, "layers.0.mlp");
  EXPECT_EQ(spans[0].begin_ns, 10);
  EXPECT_EQ(spans[0].end_ns, 20);
  EXPECT_EQ(spans[1].end_ns, 20) << "no span ends before it begins";
  EXPECT_TRUE(timeline.take().empty());
}

TEST(Timeline, LongNamesAreCut) {
  Timeline timeline(1);
  timeline.add(Track::kRead, std::string(100, 'x'), 0, 1);
  EXPECT_EQ(std::string(timeline.take()[0].name), std::string(sizeof(TimelineSpan::name) - 1, 'x'));
}

TEST(Timeline, CountsWhatItHasNoRoomFor) {
  Timeline timeline(3);
  for (int i = 0; i < 5; ++i) timeline.add(Track::kCompute, "", i, i + 1);
  EXPECT_EQ(timeline.dropped(), 2);
  ASSERT_EQ(timeline.take().size(), 3u);
  timeline.add(Track::kCompute, "", 9, 10);
  EXPECT_EQ(timeline.take().size(), 1u) << "there is room again";
  EXPECT_EQ(timeline.dropped(), 2);
}

TEST(Timeline, AllocatesOnlyWhenItIsMade) {
  Timeline timeline(100);
  const int64_t before = allocations();
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < 200; ++i) timeline.add(Track::kCopy, "layers.1.attention", i, i + 1);
    timeline.take();
  }
  EXPECT_EQ(allocations(), before);
}

TEST(Timeline, LosesNothingBetweenThreads) {
  constexpr int kThreads = 4, kSpans = 5000;
  Timeline timeline(1000);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&timeline, t] {
      for (int i = 0; i < kSpans; ++i)
        timeline.add(Track::kRead, std::to_string(t), t * kSpans + i, t * kSpans + i);
    });
  std::set<int64_t> seen;
  const auto take = [&] {
    for (const TimelineSpan& span : timeline.take()) {
      EXPECT_EQ(std::string(span.name), std::to_string(span.begin_ns / kSpans));
      EXPECT_TRUE(seen.insert(span.begin_ns).second);
    }
  };
  for (int i = 0; i < 1000; ++i) take();
  for (std::thread& thread : threads) thread.join();
  take();
  EXPECT_EQ(std::ssize(seen) + timeline.dropped(), kThreads * kSpans);
}

TEST(Timeline, EveryTrackHasItsName) {
  std::set<std::string_view> names;
  for (int i = 0; i < kTracks; ++i) names.insert(track_name(static_cast<Track>(i)));
  EXPECT_EQ(names.size(), static_cast<size_t>(kTracks));
  EXPECT_EQ(names.count(""), 0u);
}

}  // namespace
}  // namespace zerostream
