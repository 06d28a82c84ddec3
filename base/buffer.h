// Owned runs of memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

namespace zerostream {

// Owns a run of memory and frees it when it goes. Movable, not copyable. Size in bytes.
class Buffer {
 public:
  Buffer() = default;
  Buffer(std::byte* data, int64_t size, std::function<void(std::byte*, int64_t)> free)
      : data_(data), size_(size), free_(std::move(free)) {}
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer taken(std::move(other));
    swap(taken);
    return *this;
  }
  ~Buffer() {
    if (data_ != nullptr) free_(data_, size_);
  }

  std::byte* data() const { return data_; }
  int64_t size() const { return size_; }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(free_, other.free_);
  }

  std::byte* data_ = nullptr;
  int64_t size_ = 0;
  std::function<void(std::byte*, int64_t)> free_;
};

inline constexpr int64_t kHugePageBytes = int64_t{2} << 20;

// When the pages of a buffer become resident: at once, so that a memory limit is met at start and
// not in mid-run; or when they are first touched, for pools of which only a part may be needed.
enum class Residency : uint8_t { kNow, kOnTouch };

// Zeroed host memory: 2 MiB aligned on transparent huge pages where the kernel has them (they
// double the rate of direct reads); sizes under 2 MiB are page aligned only. Throws InfeasibleError
// with size and errno when the system refuses.
Buffer allocate_host(int64_t bytes, Residency residency = Residency::kNow);

}  // namespace zerostream
