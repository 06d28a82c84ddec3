#include "tests/faults/fault_files.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <mutex>
#include <random>
#include <string_view>

namespace zerostream {

struct FaultyFiles::State {
  enum class Kind : uint8_t { kRead, kWrite, kOpen, kOther };
  // What a call is to do: fail, or move at most so many bytes.
  struct Fate {
    int error = 0;
    size_t bytes = 0;
  };

  explicit State(FileFaults file_faults)
      : faults(std::move(file_faults)), random(faults.seed), space(faults.space) {}

  bool concerns(std::string_view path) const {
    return path.starts_with(faults.folder) &&
           (path.size() == faults.folder.size() || path[faults.folder.size()] == '/');
  }
  bool concerns(int fd) const {
    char path[4096];
    const std::string link = "/proc/self/fd/" + std::to_string(fd);
    const long size = syscall(SYS_readlink, link.c_str(), path, sizeof path);
    return size > 0 && concerns(std::string_view(path, static_cast<size_t>(size)));
  }

  bool happens(double probability) {
    return probability > 0 && std::uniform_real_distribution<double>()(random) < probability;
  }

  // Direct requests move all of their bytes or none: others would be no multiple of a block.
  Fate decide(Kind kind, size_t bytes, bool direct) {
    const std::lock_guard lock(mutex);
    if (calls++ == faults.kill_at) kill(getpid(), SIGKILL);
    const bool moves = kind == Kind::kRead || kind == Kind::kWrite;
    if (moves && happens(faults.interrupted_probability)) return {EINTR};
    if (happens(faults.broken_probability)) return {EIO};
    if (kind == Kind::kOpen && happens(faults.descriptors_probability)) return {EMFILE};
    if (moves && !direct && bytes > 1 && happens(faults.short_probability))
      bytes = std::uniform_int_distribution<size_t>(1, bytes - 1)(random);
    if (kind != Kind::kWrite || space < 0) return {0, bytes};
    if (direct && static_cast<int64_t>(bytes) > space) return {ENOSPC};
    bytes = std::min(bytes, static_cast<size_t>(space));
    space -= static_cast<int64_t>(bytes);
    if (bytes == 0) return {ENOSPC};
    return {0, bytes};
  }

  const FileFaults faults;
  std::mutex mutex;
  std::mt19937_64 random;  // below: protected by mutex
  int64_t space;
  int64_t calls = 0;
};

namespace {

using State = FaultyFiles::State;
using Kind = State::Kind;

bool is_direct(int fd) { return (fcntl(fd, F_GETFL) & O_DIRECT) != 0; }
bool is_direct(std::string_view) { return false; }

std::atomic<State*> active = nullptr;  // the calls below have nowhere else to look

// Makes `call` with what the fate leaves of `bytes`, or fails.
template <typename File, typename Call>
auto pass(const File& file, Kind kind, size_t bytes, Call call) -> decltype(call(bytes)) {
  State* state = active;
  if (state == nullptr || !state->concerns(file)) return call(bytes);
  const State::Fate fate = state->decide(kind, bytes, is_direct(file));
  if (fate.error == 0) return call(fate.bytes);
  errno = fate.error;
  return -1;
}

}  // namespace

FaultyFiles::FaultyFiles(FileFaults faults) : state_(std::make_unique<State>(std::move(faults))) {
  active = state_.get();
}

FaultyFiles::~FaultyFiles() { active = nullptr; }

int64_t FaultyFiles::calls() const {
  const std::lock_guard lock(state_->mutex);
  return state_->calls;
}

}  // namespace zerostream

#define ZS_INTERPOSED extern "C" __attribute__((visibility("default")))

// The next definition of an interposed function: the system's, or a sanitizer's around it.
#define ZS_REAL(name) reinterpret_cast<decltype(&name)>(dlsym(RTLD_NEXT, #name))

using zerostream::Kind;
using zerostream::pass;

ZS_INTERPOSED ssize_t read(int fd, void* data, size_t size) {
  static const auto real = ZS_REAL(read);
  return pass(fd, Kind::kRead, size, [&](size_t bytes) { return real(fd, data, bytes); });
}

ZS_INTERPOSED ssize_t pread(int fd, void* data, size_t size, off_t offset) {
  static const auto real = ZS_REAL(pread);
  return pass(fd, Kind::kRead, size, [&](size_t bytes) { return real(fd, data, bytes, offset); });
}

ZS_INTERPOSED ssize_t write(int fd, const void* data, size_t size) {
  static const auto real = ZS_REAL(write);
  return pass(fd, Kind::kWrite, size, [&](size_t bytes) { return real(fd, data, bytes); });
}

ZS_INTERPOSED ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) {
  static const auto real = ZS_REAL(pwrite);
  return pass(fd, Kind::kWrite, size, [&](size_t bytes) { return real(fd, data, bytes, offset); });
}

// Whole or not at all: what is written so are reports.
ZS_INTERPOSED ssize_t writev(int fd, const iovec* parts, int count) {
  static const auto real = ZS_REAL(writev);
  return pass(fd, Kind::kOther, 0, [&](size_t) { return real(fd, parts, count); });
}

ZS_INTERPOSED int open(const char* path, int flags, ...) {
  static const auto real = ZS_REAL(open);
  va_list more;
  va_start(more, flags);
  const int mode = (flags & O_CREAT) != 0 ? va_arg(more, int) : 0;
  va_end(more);
  return pass(path, Kind::kOpen, 0, [&](size_t) { return real(path, flags, mode); });
}

ZS_INTERPOSED int fsync(int fd) {
  static const auto real = ZS_REAL(fsync);
  return pass(fd, Kind::kOther, 0, [&](size_t) { return real(fd); });
}

ZS_INTERPOSED int ftruncate(int fd, off_t size) noexcept {
  static const auto real = ZS_REAL(ftruncate);
  return pass(fd, Kind::kOther, 0, [&](size_t) { return real(fd, size); });
}

ZS_INTERPOSED int rename(const char* from, const char* to) noexcept {
  static const auto real = ZS_REAL(rename);
  return pass(from, Kind::kOther, 0, [&](size_t) { return real(from, to); });
}

// Gives the error back and leaves errno alone.
ZS_INTERPOSED int posix_fallocate(int fd, off_t offset, off_t size) {
  static const auto real = ZS_REAL(posix_fallocate);
  const int kept = errno;
  int error = 0;
  const int result = pass(fd, Kind::kOther, 0, [&](size_t) {
    error = real(fd, offset, size);
    return 0;
  });
  if (result != 0) error = errno;
  errno = kept;
  return error;
}
