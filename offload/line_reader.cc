#include "offload/line_reader.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;
constexpr int kPollMilliseconds = 100;

}  // namespace

LineReader::LineReader(const std::string& path, const std::atomic<bool>& stop)
    : path_(path == "-" ? "stdin" : path), fd_(STDIN_FILENO), stop_(stop) {
  if (path == "-") return;
  file_ = File::open(path, {});
  fd_ = file_.fd();
}

std::optional<LineReader::Line> LineReader::next() {
  Line line;
  bool any = false;
  while (begin_ < buffer_.size() || fill()) {
    any = true;
    const size_t end = buffer_.find('\n', begin_);
    const size_t stop = end == std::string::npos ? buffer_.size() : end;
    if (!line.too_long) line.text.append(buffer_, begin_, stop - begin_);
    if (line.text.size() > kMostLineBytes) {
      line.too_long = true;
      line.text = {};
    }
    begin_ = end == std::string::npos ? stop : end + 1;
    if (end != std::string::npos) break;
  }
  if (!any || stop_) return std::nullopt;
  line.number = ++lines_;
  return line;
}

bool LineReader::fill() {
  buffer_.resize(kBufferBytes);
  begin_ = 0;
  while (!stop_) {
    pollfd ready{.fd = fd_, .events = POLLIN, .revents = 0};
    if (poll(&ready, 1, kPollMilliseconds) == 0) continue;
    const ssize_t bytes = read(fd_, buffer_.data(), buffer_.size());
    if (bytes < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (bytes < 0) throw IoError(path_ + ": cannot be read: " + std::strerror(errno), errno);
    buffer_.resize(static_cast<size_t>(bytes));
    return bytes > 0;
  }
  buffer_.clear();
  return false;
}

}  // namespace zerostream
