#include "nvme/probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "nvme/engines.h"
#include "nvme/faulty_engine.h"
#include "nvme/null_engine.h"
#include "nvme/throttled_engine.h"
#include "nvme/transfer.h"
#include "tests/support/temp_dir.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using testing::Each;
using testing::HasSubstr;

constexpr int64_t kBlock = 64 << 10;
constexpr int64_t kFileBytes = 64 * kBlock;

class ProbeTest : public testing::Test {
 protected:
  ProbeTest() { file_.allocate(kFileBytes); }

  DiskStretch stretch(IoRequest::Kind kind) const {
    return {.file = &file_,
            .kind = kind,
            .file_bytes = kFileBytes,
            .block_size = kBlock,
            .most_seconds = 60};
  }

  TempDir folder_;
  File file_ = File::open(folder_.file("data"), {.write = true, .direct = true});
  Buffer memory_ = allocate_host(8 * kBlock);
};

TEST_F(ProbeTest, AStretchCoversTheFileFromItsBeginningRound) {
  std::fill_n(memory_.data(), memory_.size(), std::byte{0x5a});
  const auto engine = make_threads_engine(4);
  DiskStretch all = stretch(IoRequest::Kind::kWrite);
  all.begin = kFileBytes / 2 + 1;
  const DiskTime time = time_stretch(all, *engine, memory_);
  EXPECT_EQ(time.bytes, kFileBytes);
  EXPECT_GT(time.seconds, 0);
  std::vector<std::byte> content(kFileBytes);
  read_fully(file_, 0, content.data(), kFileBytes);
  EXPECT_THAT(content, Each(std::byte{0x5a}));
}

TEST_F(ProbeTest, AStretchGoesOnWhenAllBlocksEndAtOnce) {
  const auto engine = make_null_engine(4);
  EXPECT_EQ(time_stretch(stretch(IoRequest::Kind::kRead), *engine, memory_).bytes, kFileBytes);
}

TEST_F(ProbeTest, AStretchEndsWithItsTime) {
  const auto engine = make_null_engine(2);
  DiskStretch short_one = stretch(IoRequest::Kind::kRead);
  short_one.most_seconds = 0;
  EXPECT_EQ(time_stretch(short_one, *engine, memory_).bytes, kBlock);
}

TEST_F(ProbeTest, MeasuresTheRateOfTheLink) {
  constexpr double kRate = 40e6;
  const auto engine = make_throttled_engine(make_null_engine(4), {.bytes_per_second = kRate});
  const DiskTime time = time_stretch(stretch(IoRequest::Kind::kRead), *engine, memory_);
  EXPECT_EQ(time.bytes, kFileBytes);
  const double rate = static_cast<double>(time.bytes) / time.seconds;
  EXPECT_LT(rate, 1.05 * kRate);
  EXPECT_GT(rate, 0.5 * kRate);
}

TEST_F(ProbeTest, AFailedRequestFailsTheStretch) {
  const auto engine = make_faulty_engine(make_threads_engine(4), {.bad_offset = 5 * kBlock});
  EXPECT_THROW(time_stretch(stretch(IoRequest::Kind::kRead), *engine, memory_), IoError);
}

TEST_F(ProbeTest, AScratchFileHasNoNameAndHoldsRandomBytes) {
  const ScratchFile scratch(folder_.path().string(), {.bytes = 20 << 20, .most_seconds = 60});
  EXPECT_EQ(scratch.bytes(), 20 << 20);
  EXPECT_GT(scratch.write_rate(), 0);
  const std::filesystem::directory_iterator files(folder_.path());
  EXPECT_EQ(std::distance(begin(files), end(files)), 1);  // data
  std::vector<uint64_t> words(512), others(512);
  read_fully(scratch.file(), scratch.bytes() - 4096, reinterpret_cast<std::byte*>(words.data()),
             4096);
  read_fully(scratch.buffered(), scratch.bytes() - 4096,
             reinterpret_cast<std::byte*>(others.data()), 4096);
  EXPECT_EQ(words, others);
  std::sort(words.begin(), words.end());
  EXPECT_EQ(std::unique(words.begin(), words.end()), words.end());
  EXPECT_GT(small_read_seconds(scratch.file(), scratch.bytes(), 5), 0);
}

TEST_F(ProbeTest, AScratchFileNeedsAFolder) {
  try {
    ScratchFile(folder_.file("none"), {});
    ADD_FAILURE() << "no error";
  } catch (const IoError& error) {
    EXPECT_THAT(error.what(), HasSubstr("none: No such file"));
  }
}

}  // namespace
}  // namespace zerostream
