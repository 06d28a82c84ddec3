#include "tests/cuda_emulator/memory.h"

#include <sys/mman.h>

#include <cstring>

#include "tests/cuda_emulator/sanitizers.h"

namespace cuda_emulator {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr size_t kAlignment = 256;
constexpr size_t kKeepRetired = 512;

constexpr size_t round_up(size_t value, size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

bool Memory::Range::holds(const void* data, size_t count) const {
  const auto first = reinterpret_cast<uintptr_t>(data);
  return first >= begin && first + count <= begin + bytes;
}

Memory::Memory() : key_(pkey_alloc(0, PKEY_DISABLE_ACCESS)) {}

void* Memory::allocate(size_t bytes, MemoryKind kind, size_t limit) {
  const size_t inner = round_up(bytes, kPageBytes), slack = round_up(bytes, kAlignment) - bytes;
  const std::lock_guard lock(mutex_);
  if (kind == MemoryKind::kDevice && used_ + bytes > limit) return nullptr;
  void* map = mmap(nullptr, inner + 2 * kPageBytes, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map == MAP_FAILED) return nullptr;
  Allocation added{{}, static_cast<std::byte*>(map), inner + 2 * kPageBytes, slack};
  std::byte* end = added.map + kPageBytes + inner;
  added.range = {reinterpret_cast<uintptr_t>(end - slack - bytes), bytes, kind};
  protect(added, PROT_READ | PROT_WRITE, 0);
  std::memset(added.map + kPageBytes, 0xff, inner);
  asan_forbid(added.map + kPageBytes, inner);
  asan_allow(end - slack - bytes, bytes);
  if (kind == MemoryKind::kDevice) {
    used_ += bytes;
    if (key_ >= 0) protect(added, PROT_READ | PROT_WRITE, key_);
  }
  allocations_.emplace(added.range.begin, added);
  return end - slack - bytes;
}

std::string Memory::free(void* memory, MemoryKind kind) {
  if (memory == nullptr) return "";
  const std::lock_guard lock(mutex_);
  const auto found = allocations_.find(reinterpret_cast<uintptr_t>(memory));
  if (found == allocations_.end() || found->second.range.kind != kind)
    return "memory is freed that was not allocated that way";
  const Allocation allocation = found->second;
  allocations_.erase(found);
  if (kind == MemoryKind::kDevice) used_ -= allocation.range.bytes;
  return retire(allocation);
}

std::string Memory::retire(const Allocation& allocation) {
  std::string wrong;
  protect(allocation, PROT_READ, 0);
  asan_allow(allocation.map + kPageBytes, allocation.map_bytes - 2 * kPageBytes);
  const auto* end =
      reinterpret_cast<const uint8_t*>(allocation.range.begin) + allocation.range.bytes;
  for (size_t i = 0; i < allocation.slack_bytes; ++i)
    if (end[i] != 0xff)
      wrong = "something was written past the end of an allocation of " +
              std::to_string(allocation.range.bytes) + " bytes";
  protect(allocation, PROT_NONE, 0);
  madvise(allocation.map, allocation.map_bytes, MADV_DONTNEED);
  retired_.push_back(allocation);
  if (retired_.size() <= kKeepRetired) return wrong;
  munmap(retired_.front().map, retired_.front().map_bytes);
  retired_.pop_front();
  return wrong;
}

bool Memory::add_registered(void* memory, size_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto begin = reinterpret_cast<uintptr_t>(memory);
  const auto after = allocations_.lower_bound(begin);
  if (after != allocations_.end() && after->first < begin + bytes) return false;
  if (after != allocations_.begin() && std::prev(after)->second.range.holds(memory, 1))
    return false;
  return allocations_.emplace(begin, Allocation{{begin, bytes, MemoryKind::kRegistered}}).second;
}

bool Memory::remove_registered(void* memory) {
  const std::lock_guard lock(mutex_);
  const auto found = allocations_.find(reinterpret_cast<uintptr_t>(memory));
  if (found == allocations_.end() || found->second.range.kind != MemoryKind::kRegistered)
    return false;
  allocations_.erase(found);
  return true;
}

std::optional<Memory::Range> Memory::find(const void* data) const {
  const std::lock_guard lock(mutex_);
  auto after = allocations_.upper_bound(reinterpret_cast<uintptr_t>(data));
  if (after == allocations_.begin()) return std::nullopt;
  const Range& range = std::prev(after)->second.range;
  return range.holds(data, 1) ? std::optional(range) : std::nullopt;
}

size_t Memory::used_bytes() const {
  const std::lock_guard lock(mutex_);
  return used_;
}

void Memory::allow_this_thread() const {
  if (key_ >= 0) pkey_set(key_, 0);
}

void Memory::protect(const Allocation& allocation, int protection, int key) const {
  std::byte* inner = allocation.map + kPageBytes;
  const size_t bytes = allocation.map_bytes - 2 * kPageBytes;
  if (key_ >= 0)
    pkey_mprotect(inner, bytes, protection, key);
  else
    mprotect(inner, bytes, protection);
}

}  // namespace cuda_emulator
