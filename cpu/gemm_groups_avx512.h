// What the AVX-512 and the AMX kernel in integers share: inner sums of a group become part of the
// panel's sums.
#pragma once

#include <immintrin.h>

#include "cpu/gemm_kernel.h"

namespace zerostream {

// Scales and zeros of a group for 16 outputs from `output` on. The masked forms, as GCC 12 warns of
// what it takes for uninitialised in the others.
struct GroupVectors {
  __m512 scale;
  __m512 zero;

  [[gnu::target("avx512f")]] static inline GroupVectors load(const IntegerGroups& groups,
                                                             int64_t group, int64_t output) {
    constexpr __mmask16 kAll = 0xffff;
    const std::byte* entry = groups.table + group * groups.bytes;
    const auto* scales = reinterpret_cast<const __m256i*>(entry + 2 * output);
    GroupVectors vectors = {_mm512_maskz_cvtph_ps(kAll, _mm256_load_si256(scales)),
                            _mm512_set1_ps(groups.zero)};
    if (!groups.has_zeros) return vectors;
    const auto* zeros = reinterpret_cast<const __m128i*>(entry + 2 * kPanelOutputs + output);
    vectors.zero =
        _mm512_maskz_cvtepi32_ps(kAll, _mm512_maskz_cvtepu8_epi32(kAll, _mm_load_si128(zeros)));
    return vectors;
  }

  // sums = old + scale * (inner - zero * source_sum)
  [[gnu::target("avx512f")]] inline __m512 add(__m512 old, __m512i inner, __m512 source_sum) const {
    constexpr __mmask16 kAll = 0xffff;
    const __m512 integers = _mm512_maskz_cvtepi32_ps(kAll, inner);
    return _mm512_fmadd_ps(scale, _mm512_fnmadd_ps(zero, source_sum, integers), old);
  }
};

}  // namespace zerostream
