// Files with known bytes, and memory to read them into.
#pragma once

#include <cstring>
#include <string>
#include <string_view>

#include "base/buffer.h"
#include "base/tensor.h"

namespace zerostream {

// Bytes that differ from place to place, also between blocks and pages.
inline std::string test_bytes(int64_t count, uint64_t seed = 1) {
  std::string bytes(static_cast<size_t>(count), '\0');
  uint64_t state = seed * 0x9e3779b97f4a7c15ull;
  for (char& byte : bytes) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    byte = static_cast<char>(state >> 56);
  }
  return bytes;
}

// Room for `bytes`, rounded up to pages, and a page of guard behind it; all of it holds kGuard.
class GuardedBuffer {
 public:
  static constexpr char kGuard = 0x5a;
  explicit GuardedBuffer(int64_t bytes) : buffer_(allocate_host(round_up(bytes, 4096) + 4096)) {
    std::memset(buffer_.data(), kGuard, static_cast<size_t>(buffer_.size()));
  }
  std::byte* data() const { return buffer_.data(); }
  std::string_view view(int64_t bytes) const {
    return {buffer_.as<char>(), static_cast<size_t>(bytes)};
  }
  // Whether everything from `begin` on is as it was.
  bool untouched_from(int64_t begin) const {
    for (int64_t i = begin; i < buffer_.size(); ++i)
      if (buffer_.as<char>()[i] != kGuard) return false;
    return true;
  }

 private:
  Buffer buffer_;
};

}  // namespace zerostream
