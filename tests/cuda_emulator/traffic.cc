#include "tests/cuda_emulator/traffic.h"

#include <unordered_set>

#include "tests/cuda_emulator/runtime.h"

namespace cuda_emulator {
namespace {

constexpr uintptr_t kSectorBytes = 32;
constexpr unsigned kSectorBits = 43;  // of an address's sector; the block's number lies above

std::unordered_set<uint64_t>& touched() {
  static auto* sectors = new std::unordered_set<uint64_t>;
  return *sectors;
}

void touch(const void* data, size_t bytes) {
  thread_local Memory::Range known;  // the last allocation that was touched
  if (!known.holds(data, bytes)) {
    const auto range = Runtime::get().memory().find(data);
    if (!range) return;
    known = *range;
  }
  if (known.kind != MemoryKind::kDevice) return;
  const uint64_t block = (uint64_t{blockIdx.z} * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const auto first = reinterpret_cast<uintptr_t>(data);
  for (uintptr_t sector = first / kSectorBytes; sector <= (first + bytes - 1) / kSectorBytes;
       ++sector)
    touched().insert(block << kSectorBits | sector);
}

}  // namespace

int64_t take_traffic() {
  const auto bytes = static_cast<int64_t>(touched().size() * kSectorBytes);
  touched().clear();
  return bytes;
}

}  // namespace cuda_emulator

#define CUDA_EMULATOR_ACCESS(bytes)                                                     \
  void __tsan_read##bytes(void* data) { cuda_emulator::touch(data, bytes); }            \
  void __tsan_write##bytes(void* data) { cuda_emulator::touch(data, bytes); }           \
  void __tsan_unaligned_read##bytes(void* data) { cuda_emulator::touch(data, bytes); }  \
  void __tsan_unaligned_write##bytes(void* data) { cuda_emulator::touch(data, bytes); } \
  void __tsan_read_write##bytes(void* data) { cuda_emulator::touch(data, bytes); }      \
  void __tsan_unaligned_read_write##bytes(void* data) { cuda_emulator::touch(data, bytes); }

extern "C" {
CUDA_EMULATOR_ACCESS(1)
CUDA_EMULATOR_ACCESS(2)
CUDA_EMULATOR_ACCESS(4)
CUDA_EMULATOR_ACCESS(8)
CUDA_EMULATOR_ACCESS(16)
void __tsan_read_range(void* data, size_t bytes) { cuda_emulator::touch(data, bytes); }
void __tsan_write_range(void* data, size_t bytes) { cuda_emulator::touch(data, bytes); }
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
void __tsan_vptr_read(void**) {}
void __tsan_vptr_update(void**, void*) {}
void* __tsan_memcpy(void* target, const void* source, size_t bytes) {
  cuda_emulator::touch(source, bytes);
  cuda_emulator::touch(target, bytes);
  return __builtin_memcpy(target, source, bytes);
}
void* __tsan_memset(void* target, int value, size_t bytes) {
  cuda_emulator::touch(target, bytes);
  return __builtin_memset(target, value, bytes);
}
}
