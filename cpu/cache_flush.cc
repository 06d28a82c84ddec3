#include "cpu/cache_flush.h"

#include <emmintrin.h>

namespace zerostream {

void flush_from_caches(const std::byte* data, int64_t bytes) {
  constexpr int64_t kLineBytes = 64;
  for (int64_t at = 0; at < bytes; at += kLineBytes) _mm_clflush(data + at);
  _mm_mfence();
}

}  // namespace zerostream
