#include "base/buffer.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/tensor.h"
#include "zerostream/error.h"

namespace zerostream {

Buffer allocate_host(int64_t bytes, Residency residency) {
  if (bytes == 0) return {};
  const int64_t alignment = bytes >= kHugePageBytes ? kHugePageBytes : kTileBytes;
  const int64_t size = round_up(bytes, alignment);
  const int64_t mapped = size + alignment;
  void* base = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED)
    throw InfeasibleError("cannot allocate " + std::to_string(bytes) +
                          " bytes of host memory: " + std::strerror(errno));
  auto* start = reinterpret_cast<std::byte*>(round_up(reinterpret_cast<int64_t>(base), alignment));
  if (alignment == kHugePageBytes)
    madvise(start, size, MADV_HUGEPAGE);  // refused: small pages, only slower
  if (residency == Residency::kNow) std::memset(start, 0, size);
  return {start, bytes, [base, mapped](std::byte*, int64_t) { munmap(base, mapped); }};
}

}  // namespace zerostream
