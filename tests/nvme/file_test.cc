#include "nvme/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <utility>

#include "nvme/transfer.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_bytes.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using testing::HasSubstr;

class FileTest : public testing::Test {
 protected:
  TempDir dir_;
  std::string path_ = dir_.file("data");

  // Runs `body`, which must throw an IoError with this errno and the path in its text.
  template <typename Body>
  void expect_io_error(int error_number, const std::string& text, Body body) {
    try {
      body();
      ADD_FAILURE() << "nothing was thrown";
    } catch (const IoError& error) {
      EXPECT_EQ(error.error_number(), error_number) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(text));
    }
  }
};

TEST_F(FileTest, DirectOpenSaysWhatItGot) {
  write_file(path_, test_bytes(10000));
  const File file = File::open(path_, {.direct = true});
  EXPECT_EQ(file.direct(), file.why_not_direct().empty());
  EXPECT_EQ(file.size(), 10000);
  if (!file.direct()) GTEST_SKIP() << file.why_not_direct();
  EXPECT_GT(file.alignment(), 1);
  EXPECT_EQ(4096 % file.alignment(), 0);
}

TEST_F(FileTest, FallsBackToBufferedWithTheReason) {
  const File file = File::open("/proc/self/stat", {.direct = true});  // procfs refuses O_DIRECT
  EXPECT_FALSE(file.direct());
  EXPECT_EQ(file.alignment(), 1);
  EXPECT_THAT(file.why_not_direct(), HasSubstr("O_DIRECT was refused: Invalid argument"));
  std::byte first{};
  read_fully(file, 0, &first, 1);
  EXPECT_NE(first, std::byte{0});
}

TEST_F(FileTest, BufferedHasNoAlignmentAndNoReason) {
  write_file(path_, "x");
  const File file = File::open(path_, {});
  EXPECT_FALSE(file.direct());
  EXPECT_EQ(file.alignment(), 1);
  EXPECT_EQ(file.why_not_direct(), "");
}

TEST_F(FileTest, EmptyFileOpensDirect) {
  const File file = File::open(path_, {.write = true, .direct = true});
  EXPECT_EQ(file.size(), 0);
}

TEST_F(FileTest, ErrorsNameThePath) {
  for (bool direct : {false, true}) {
    expect_io_error(ENOENT, path_, [&] { File::open(path_, {.direct = direct}); });
    expect_io_error(EISDIR, dir_.path(), [&] { File::open(dir_.path(), {.direct = direct}); });
  }
  expect_io_error(ENOTDIR, path_ + "/x", [&] {
    write_file(path_, "");
    File::open(path_ + "/x", {.write = true});
  });
}

TEST_F(FileTest, WriteKeepsWhatIsThere) {
  write_file(path_, "hello");
  const File file = File::open(path_, {.write = true});
  write_fully(file, 5, reinterpret_cast<const std::byte*>(" you"), 4);
  file.sync();
  EXPECT_EQ(read_file(path_), "hello you");
}

TEST_F(FileTest, ReservesSpaceOrSaysThatThereIsNone) {
  const File file = File::open(path_, {.write = true});
  file.allocate(100000);
  EXPECT_EQ(file.size(), 100000);
  const auto space = std::filesystem::space(dir_.path());
  const auto too_much = static_cast<int64_t>(space.available) + (int64_t{1} << 30);
  try {
    file.allocate(too_much);
    ADD_FAILURE() << "reserved more than there is";
  } catch (const IoError& error) {
    EXPECT_TRUE(error.error_number() == ENOSPC || error.error_number() == EFBIG) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(path_));
  }
}

TEST_F(FileTest, MovesItsDescriptor) {
  write_file(path_, "abc");
  File first = File::open(path_, {});
  const int fd = first.fd();
  File second = std::move(first);
  EXPECT_EQ(second.fd(), fd);
  EXPECT_EQ(second.path(), path_);
  second.drop_cache();
  EXPECT_EQ(second.size(), 3);
}

TEST_F(FileTest, ReadFullyTakesAnyPlaceAndSize) {
  const std::string bytes = test_bytes((2 << 20) + 777);
  write_file(path_, bytes);
  for (bool direct : {false, true}) {
    const File file = File::open(path_, {.direct = direct});
    for (int64_t offset : {int64_t{0}, int64_t{1}, int64_t{511}, int64_t{4097}, file.size() - 1})
      for (int64_t size : {int64_t{0}, int64_t{1}, int64_t{4096}, int64_t{1500001}}) {
        if (offset + size > file.size()) continue;
        std::string target(static_cast<size_t>(size) + 1, '?');
        read_fully(file, offset, reinterpret_cast<std::byte*>(target.data()), size);
        EXPECT_EQ(target,
                  bytes.substr(static_cast<size_t>(offset), static_cast<size_t>(size)) + '?')
            << offset << " " << size;
      }
  }
}

TEST_F(FileTest, ReadFullyBeyondTheEnd) {
  write_file(path_, test_bytes(5000));
  for (bool direct : {false, true}) {
    const File file = File::open(path_, {.direct = direct});
    std::string target(10000, '\0');
    auto* data = reinterpret_cast<std::byte*>(target.data());
    expect_io_error(0, "2000 bytes at offset 5000 of " + path_ + ": end of file",
                    [&] { read_fully(file, 4000, data, 3000); });
    expect_io_error(0, "10 bytes at offset 9000 of " + path_ + ": end of file",
                    [&] { read_fully(file, 9000, data, 10); });
  }
}

TEST_F(FileTest, WriteFullyToADirectFile) {
  const std::string bytes = test_bytes(3 << 20);
  GuardedBuffer source(3 << 20);
  std::memcpy(source.data(), bytes.data(), bytes.size());
  const File file = File::open(path_, {.write = true, .direct = true});
  write_fully(file, 4096, source.data(), 3 << 20);
  EXPECT_EQ(read_file(path_).substr(4096), bytes);
  if (!file.direct()) GTEST_SKIP() << file.why_not_direct();
  EXPECT_THROW(write_fully(file, 1, source.data(), 4096), InternalError);
}

TEST_F(FileTest, WriteFullyNeedsAWritableFile) {
  write_file(path_, "abc");
  const File file = File::open(path_, {});
  const std::byte byte{};
  expect_io_error(EBADF, "cannot write 1 bytes at offset 0 of " + path_,
                  [&] { write_fully(file, 0, &byte, 1); });
}

}  // namespace
}  // namespace zerostream
