#include "prefetch/background_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nvme/deadline_engine.h"
#include "nvme/faulty_engine.h"
#include "tests/support/separate_memory_device.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_bytes.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int64_t kBlock = 4096;

class BackgroundWriterTest : public testing::Test {
 protected:
  static std::unique_ptr<IoEngine> engine(const FaultOptions& faults) {
    return make_faulty_engine(make_io_engine(IoEngineKind::kThreads, 4, nullptr), faults);
  }
  // Every second block of the file from consecutive blocks of memory.
  void submit(BackgroundWriter& writer, int64_t tag) {
    writer.submit({.tag = tag,
                   .file = &file_,
                   .offset = 0,
                   .offset_stride = 2 * kBlock,
                   .data = reinterpret_cast<const std::byte*>(bytes_.data()),
                   .data_stride = kBlock,
                   .bytes = kBlock,
                   .count = 3});
  }
  // What submit() writes.
  void expect_runs(const std::string& written) const {
    for (int64_t i = 0; i < 3; ++i)
      EXPECT_EQ(written.substr(2 * i * kBlock, kBlock), bytes_.substr(i * kBlock, kBlock));
  }
  static void wait_for_all(BackgroundWriter& writer, std::vector<int64_t>& tags) {
    while (writer.pending() > 0) {
      writer.wait();
      writer.collect(tags);
    }
  }

  TempDir folder_;
  const std::string bytes_ = test_bytes(3 * kBlock);
  const File file_ = File::open(folder_.file("x"), {.write = true});
};

TEST_F(BackgroundWriterTest, WritesEveryRunThroughFaults) {
  BackgroundWriter writer(engine({.short_probability = 0.3, .again_probability = 0.3}));
  std::vector<int64_t> tags;
  for (int64_t tag = 0; tag < 20; ++tag) submit(writer, tag);
  wait_for_all(writer, tags);
  EXPECT_THAT(tags, testing::UnorderedElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14,
                                                  15, 16, 17, 18, 19));
  EXPECT_EQ(writer.bytes_written(), 20 * 3 * kBlock);
  expect_runs(read_file(folder_.file("x")));
}

// However few buffers there are.
TEST_F(BackgroundWriterTest, ADevicesOwnMemoryIsWrittenThroughBuffers) {
  SeparateMemoryDevice device;
  for (const int64_t buffers : {1, 2, 7}) {
    BackgroundWriter writer(
        engine({.short_probability = 0.3}),
        {.device = &device, .pinned_bytes = buffers * kBlock, .run_bytes = kBlock});
    std::vector<int64_t> tags;
    for (int64_t tag = 0; tag < 5; ++tag) submit(writer, tag);
    wait_for_all(writer, tags);
    EXPECT_THAT(tags, testing::UnorderedElementsAre(0, 1, 2, 3, 4));
    EXPECT_EQ(writer.bytes_written(), 5 * 3 * kBlock);
    expect_runs(read_file(folder_.file("x")));
  }
}

TEST_F(BackgroundWriterTest, ADevicesOwnMemoryIsWrittenToPinnedMemory) {
  SeparateMemoryDevice device;
  BackgroundWriter writer(engine({}), {.device = &device});
  std::string target(6 * kBlock, 'x');
  std::vector<int64_t> tags;
  writer.submit({.tag = 3,
                 .target = reinterpret_cast<std::byte*>(target.data()),
                 .offset = kBlock,
                 .offset_stride = 2 * kBlock,
                 .data = reinterpret_cast<const std::byte*>(bytes_.data()),
                 .data_stride = kBlock,
                 .bytes = kBlock,
                 .count = 3});
  wait_for_all(writer, tags);
  EXPECT_THAT(tags, testing::ElementsAre(3));
  EXPECT_EQ(target.substr(0, kBlock), std::string(kBlock, 'x'));
  expect_runs(target.substr(kBlock));
}

TEST_F(BackgroundWriterTest, AFullDiskIsAnErrorForAllThatFollow) {
  BackgroundWriter writer(engine({.full_probability = 1}));
  std::vector<int64_t> tags;
  submit(writer, 1);
  EXPECT_THROW(wait_for_all(writer, tags), IoError);
  submit(writer, 2);
  EXPECT_THROW(writer.wait(), IoError);
  EXPECT_THROW(writer.collect(tags), IoError);
}

TEST_F(BackgroundWriterTest, ABrokenQueueIsAnErrorAndNothingHangs) {
  for (int submission : {0, 1, 2}) {
    BackgroundWriter writer(engine({.refused_submission = submission}));
    std::vector<int64_t> tags;
    for (int64_t tag = 0; tag < 5; ++tag) submit(writer, tag);
    EXPECT_THROW(wait_for_all(writer, tags), IoError) << submission;
  }
}

TEST_F(BackgroundWriterTest, ALostWriteIsAnErrorAfterItsTime) {
  BackgroundWriter writer(make_deadline_engine(engine({.lost_probability = 1}), 0.05));
  std::vector<int64_t> tags;
  submit(writer, 1);
  try {
    wait_for_all(writer, tags);
    FAIL() << "nothing was written";
  } catch (const IoError& error) {
    EXPECT_EQ(error.error_number(), ETIMEDOUT);
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("writing 4096 bytes at 0 to "),
                                             testing::HasSubstr(folder_.file("x"))));
  }
}

}  // namespace
}  // namespace zerostream
