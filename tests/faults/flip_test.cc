// Bits of the store that are not what was packed.
#include <gtest/gtest.h>

#include <random>

#include "tests/faults/tiny_job.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

// Wherever in weights.bin a bit flips, a run ends with exit code 4, names the file, and writes
// nothing that is wrong; once it is whole again the job goes on.
TEST(FlippedBits, AreFoundWhereverTheyAre) {
  TinyJob job;
  const std::string weights = read_file(job.weights_path());
  std::mt19937_64 random(1);
  const auto bytes_of = [&](const Segment& segment) {
    return segment.offset + static_cast<int64_t>(random() % static_cast<uint64_t>(segment.bytes));
  };
  std::vector<Segment> segments = job.store().segments();
  segments.push_back(job.store().vectors_segment());
  for (int round = 0; round < 4; ++round)
    for (const Segment& segment : segments) {
      std::string damaged = weights;
      damaged[static_cast<size_t>(bytes_of(segment))] ^= static_cast<char>(1 << random() % 8);
      write_file(job.weights_path(), damaged);
      const JobShape shape{.stream_weights = round % 2 == 0, .direct = round < 2};
      const JobEnd end = job.run(shape, {});
      EXPECT_EQ(end.code, static_cast<int>(ErrorCode::kCheckpoint)) << segment.name << end.message;
      EXPECT_NE(end.message.find("weights.bin: segment \"" + segment.name + "\""), end.message.npos)
          << end.message;
      EXPECT_EQ(job.problem_of_part(), "");
    }
  write_file(job.weights_path(), weights);
  EXPECT_EQ(job.run({}, {}).code, 0);
  EXPECT_EQ(job.problem_of_whole(), "");
}

}  // namespace
}  // namespace zerostream
