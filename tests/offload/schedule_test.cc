#include "offload/schedule.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>

namespace zerostream {
namespace {

Segment segment(MatrixRole role, int64_t bytes, int matrices = 1) {
  Segment made;
  made.bytes = bytes;
  made.matrices.resize(matrices);
  for (StoredMatrix& matrix : made.matrices) matrix.role = role;
  return made;
}

std::vector<Segment> random_segments(std::mt19937& random) {
  std::vector<Segment> segments = {segment(MatrixRole::kTokenEmbedding, 4096)};
  const int count = 1 + static_cast<int>(random() % 12);
  for (int i = 0; i < count; ++i)
    segments.push_back(
        segment(MatrixRole::kQkv, 4096 * static_cast<int64_t>(1 + random() % 9), 1 + random() % 3));
  return segments;
}

// Plays prologue and three passes, as the scheduler does, and checks what must hold at every step.
void play(const std::vector<Segment>& segments, const std::vector<bool>& resident, int depth) {
  const Schedule schedule = make_schedule(segments, {resident, depth});
  std::deque<int32_t> fetched;
  int64_t held = 0;
  std::vector<Step> steps = schedule.prologue;
  for (int pass = 0; pass < 3; ++pass)
    steps.insert(steps.end(), schedule.pass.begin(), schedule.pass.end());
  for (const Step& step : steps) {
    switch (step.kind) {
      case StepKind::kFetch:
        EXPECT_FALSE(resident[step.segment]);
        EXPECT_FALSE(is_embedding(segments[step.segment]));
        fetched.push_back(step.segment);
        held += segments[step.segment].bytes;
        EXPECT_LE(static_cast<int>(fetched.size()), depth + 1);
        EXPECT_LE(held, schedule.ring_bytes);
        break;
      case StepKind::kApply:
        if (resident[step.segment]) break;
        ASSERT_FALSE(fetched.empty());
        EXPECT_EQ(fetched.front(), step.segment) << "the oldest fetch is the one in use";
        break;
      case StepKind::kRelease:
        ASSERT_FALSE(fetched.empty());
        EXPECT_EQ(fetched.front(), step.segment);
        held -= segments[step.segment].bytes;
        fetched.pop_front();
        break;
      case StepKind::kEmbed:
      case StepKind::kWriteKv:
      case StepKind::kFetchKv:
      case StepKind::kAttend:
      case StepKind::kReleaseKv:
        break;
    }
  }
  const bool streams = !schedule.prologue.empty() || schedule.streamed_bytes > 0;
  EXPECT_EQ(fetched.size(), streams ? static_cast<size_t>(depth) : 0u)
      << "the next pass's first segments are on their way";
}

TEST(Schedule, InvariantsHoldForRandomModels) {
  std::mt19937 random(7);
  for (int i = 0; i < 2000; ++i) {
    const std::vector<Segment> segments = random_segments(random);
    std::vector<bool> resident(segments.size());
    for (size_t s = 0; s < resident.size(); ++s) resident[s] = random() % 3 == 0;
    play(segments, resident, static_cast<int>(random() % 6));
  }
}

TEST(Schedule, AppliesEveryMatrixOnceInOrder) {
  std::mt19937 random(8);
  for (int i = 0; i < 200; ++i) {
    const std::vector<Segment> segments = random_segments(random);
    const Schedule schedule =
        make_schedule(segments, {std::vector<bool>(segments.size(), false), 2});
    std::vector<std::pair<int32_t, int32_t>> applied, expected;
    for (const Step& step : schedule.pass)
      if (step.kind == StepKind::kApply) applied.emplace_back(step.segment, step.matrix);
    for (size_t s = 1; s < segments.size(); ++s)
      for (size_t m = 0; m < segments[s].matrices.size(); ++m) expected.emplace_back(s, m);
    EXPECT_EQ(applied, expected);
    EXPECT_EQ(schedule.pass.front().kind, StepKind::kEmbed);
  }
}

TEST(Schedule, NothingIsFetchedWhenAllIsResident) {
  const std::vector<Segment> segments = {segment(MatrixRole::kTokenEmbedding, 4096),
                                         segment(MatrixRole::kQkv, 8192)};
  const Schedule schedule = make_schedule(segments, {{true, true}, 4});
  EXPECT_TRUE(schedule.prologue.empty());
  EXPECT_EQ(schedule.streamed_bytes, 0);
  EXPECT_EQ(schedule.ring_bytes, 0);
}

TEST(Schedule, DepthZeroFetchesWhenItIsUsed) {
  const std::vector<Segment> segments = {segment(MatrixRole::kQkv, 4096),
                                         segment(MatrixRole::kHead, 8192)};
  const Schedule schedule = make_schedule(segments, {{false, false}, 0});
  const int32_t layer = segments[0].matrices[0].layer;
  const std::vector<Step> expected = {{StepKind::kEmbed, 0, 0},
                                      {StepKind::kFetch, 0, 0},
                                      {StepKind::kApply, 0, 0},
                                      {.kind = StepKind::kWriteKv, .layer = layer},
                                      {.kind = StepKind::kAttend, .layer = layer},
                                      {StepKind::kRelease, 0, 0},
                                      {StepKind::kFetch, 1, 0},
                                      {StepKind::kApply, 1, 0},
                                      {StepKind::kRelease, 1, 0}};
  EXPECT_TRUE(schedule.prologue.empty());
  EXPECT_EQ(schedule.pass, expected);
  EXPECT_EQ(schedule.ring_bytes, 8192);
}

}  // namespace
}  // namespace zerostream
