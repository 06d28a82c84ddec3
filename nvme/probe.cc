#include "nvme/probe.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <random>
#include <vector>

#include "base/require.h"
#include "nvme/transfer.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int64_t kLeastScratch = int64_t{16} << 20;
constexpr int64_t kFillBlock = int64_t{1} << 20;
constexpr int kFillDepth = 16;
constexpr int64_t kSmallRead = 4096;

class Clock {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

int64_t scratch_bytes(const std::string& folder, int64_t wanted) {
  struct statvfs info {};
  if (statvfs(folder.c_str(), &info) != 0)
    throw IoError("cannot measure the disk of " + folder + ": " + std::strerror(errno), errno);
  const auto half_free =
      static_cast<int64_t>(info.f_bavail) * static_cast<int64_t>(info.f_frsize) / 2;
  const int64_t bytes = std::min(wanted, half_free) / kFillBlock * kFillBlock;
  if (bytes < kLeastScratch)
    throw IoError("cannot measure the disk of " + folder + ": it has less than 32 MiB free",
                  ENOSPC);
  return bytes;
}

std::string make_unique_file(const std::string& folder) {
  std::string path = folder + "/.zerostream-probe-XXXXXX";
  const int fd = mkstemp(path.data());
  if (fd < 0) throw IoError("cannot create " + path + ": " + std::strerror(errno), errno);
  close(fd);
  return path;
}

// The blocks of a stretch on their way; each has its place in memory.
class BlockLoop {
 public:
  BlockLoop(const DiskStretch& stretch, IoEngine& engine, const Buffer& memory)
      : stretch_(stretch),
        blocks_of_file_(stretch.file_bytes / stretch.block_size),
        first_block_(stretch.begin / stretch.block_size),
        queue_(engine, {.block_size = stretch.block_size}) {
    const int64_t places = memory.size() / stretch.block_size;
    require(places > 0 && blocks_of_file_ > 0, "memory and file hold a block");
    most_in_flight_ = std::min<int64_t>(engine.capacity(), places);
    for (int64_t i = 0; i < places; ++i) free_.push_back(memory.data() + i * stretch.block_size);
  }

  DiskTime run() {
    const Clock clock;
    const auto more = [&] {
      return submitted_ < blocks_of_file_ && !error_ &&
             (submitted_ == 0 || clock.seconds() < stretch_.most_seconds);
    };
    do {
      while (in_flight_ < most_in_flight_ && more()) submit();
      queue_.pump(true);
    } while (!queue_.idle() || more());
    if (error_) std::rethrow_exception(error_);
    if (stretch_.kind == IoRequest::Kind::kWrite) stretch_.file->sync();
    return {submitted_ * stretch_.block_size, clock.seconds()};
  }

 private:
  void submit() {
    std::byte* place = free_.front();  // that has not been used for longest
    free_.pop_front();
    queue_.submit({.kind = stretch_.kind,
                   .file = stretch_.file,
                   .offset = (first_block_ + submitted_) % blocks_of_file_ * stretch_.block_size,
                   .data = place,
                   .bytes = stretch_.block_size,
                   .done = [this, place](std::exception_ptr error) {
                     if (error) error_ = error;
                     free_.push_back(place);
                     --in_flight_;
                   }});
    ++submitted_;
    ++in_flight_;
  }

  const DiskStretch& stretch_;
  const int64_t blocks_of_file_, first_block_;
  std::deque<std::byte*> free_;
  int64_t most_in_flight_ = 0, in_flight_ = 0;
  std::exception_ptr error_;
  int64_t submitted_ = 0;
  TransferQueue queue_;
};

}  // namespace

ScratchFile::ScratchFile(const std::string& folder, Options options)
    : bytes_(scratch_bytes(folder, options.bytes)) {
  const std::string path = make_unique_file(folder);
  try {
    file_ = File::open(path, {.write = true, .direct = true});
    buffered_ = File::open(path, {});
  } catch (...) {
    unlink(path.c_str());
    throw;
  }
  unlink(path.c_str());
  file_.allocate(bytes_);
  const Buffer memory = allocate_host(kFillBlock * kFillDepth);
  std::mt19937_64 random(1);
  std::generate_n(memory.as<uint64_t>(), memory.size() / 8, std::ref(random));
  const auto engine = make_io_engine(IoEngineKind::kAuto, kFillDepth, nullptr);
  const DiskTime time = time_stretch({.file = &file_,
                                      .kind = IoRequest::Kind::kWrite,
                                      .file_bytes = bytes_,
                                      .block_size = kFillBlock,
                                      .most_seconds = options.most_seconds},
                                     *engine, memory);
  bytes_ = time.bytes;
  write_rate_ = static_cast<double>(time.bytes) / time.seconds;
  buffered_.drop_cache();
}

DiskTime time_stretch(const DiskStretch& stretch, IoEngine& engine, const Buffer& memory) {
  return BlockLoop(stretch, engine, memory).run();
}

double small_read_seconds(const File& file, int64_t file_bytes, int count) {
  require(count > 0 && file_bytes >= kSmallRead, "a file has 4 KiB to read");
  const Buffer memory = allocate_host(kSmallRead);
  std::mt19937_64 random(2);
  std::uniform_int_distribution<int64_t> page(0, file_bytes / kSmallRead - 1);
  std::vector<double> seconds;
  for (int i = 0; i < count; ++i) {
    const int64_t offset = page(random) * kSmallRead;
    const Clock clock;
    read_fully(file, offset, memory.data(), kSmallRead);
    seconds.push_back(clock.seconds());
  }
  std::nth_element(seconds.begin(), seconds.begin() + count / 2, seconds.end());
  return seconds[static_cast<size_t>(count / 2)];
}

}  // namespace zerostream
