// Device and pinned memory whose borders are watched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace cuda_emulator {

enum class MemoryKind : uint8_t { kDevice, kPinned, kRegistered };

// Threads: any.
class Memory {
 public:
  struct Range {
    uintptr_t begin = 0;
    size_t bytes = 0;
    MemoryKind kind = MemoryKind::kDevice;
    bool holds(const void* data, size_t count) const;
  };

  Memory();

  // 256-byte aligned and ending, but for what the alignment needs, at a page that faults. Null if
  // the device has less than `bytes` left of `limit`, or the host refuses.
  void* allocate(size_t bytes, MemoryKind kind, size_t limit);
  // What was wrong, empty if nothing: not allocated as this kind, or written past its end. Null is
  // fine.
  std::string free(void* memory, MemoryKind kind);

  // Host memory of others that counts as pinned. False: some of it was known, or it was not.
  bool add_registered(void* memory, size_t bytes);
  bool remove_registered(void* memory);

  // The allocation that `data` lies in; nothing for pageable memory.
  std::optional<Range> find(const void* data) const;
  size_t used_bytes() const;

  // Lets the calling thread, and threads that it makes, touch device memory.
  void allow_this_thread() const;

 private:
  struct Allocation {
    Range range;
    std::byte* map = nullptr;
    size_t map_bytes = 0;
    size_t slack_bytes = 0;
  };
  void protect(const Allocation& allocation, int protection, int key) const;
  std::string retire(const Allocation& allocation);

  const int key_;  // protection key of device memory, -1: the processor has none
  mutable std::mutex mutex_;
  std::map<uintptr_t, Allocation> allocations_;
  std::deque<Allocation> retired_;  // the latest stay mapped, without access
  size_t used_ = 0;
};

}  // namespace cuda_emulator
