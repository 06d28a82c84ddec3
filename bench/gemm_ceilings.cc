#include "bench/gemm_ceilings.h"

#include <immintrin.h>

#include <chrono>
#include <numeric>
#include <vector>

#include "base/buffer.h"
#include "cpu/weight_tiles.h"

namespace zerostream {
namespace {

constexpr int kChains = 12;  // independent sums: more than the instructions' latency

// Each runs `rounds` rounds and returns the operations of one.
[[gnu::target("avx2,fma")]] double loop_avx2(int64_t rounds) {
  __m256 sum[kChains];
  __m256 a = _mm256_set1_ps(1.0f), b = a;
  for (int i = 0; i < kChains; ++i) sum[i] = _mm256_setzero_ps();
  for (int64_t round = 0; round < rounds; ++round) {
    __asm__ volatile("" : "+v"(a));
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sum[i] = _mm256_fmadd_ps(a, b, sum[i]);
  }
  for (int i = 1; i < kChains; ++i) sum[0] = _mm256_add_ps(sum[0], sum[i]);
  __asm__ volatile("" : "+v"(sum[0]));
  return kChains * 8 * 2.0;
}

[[gnu::target("avx512f")]] double loop_avx512(int64_t rounds) {
  __m512 sum[kChains];
  __m512 a = _mm512_set1_ps(1.0f), b = a;
  for (int i = 0; i < kChains; ++i) sum[i] = _mm512_setzero_ps();
  for (int64_t round = 0; round < rounds; ++round) {
    __asm__ volatile("" : "+v"(a));
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sum[i] = _mm512_fmadd_ps(a, b, sum[i]);
  }
  for (int i = 1; i < kChains; ++i) sum[0] = _mm512_add_ps(sum[0], sum[i]);
  __asm__ volatile("" : "+v"(sum[0]));
  return kChains * 16 * 2.0;
}

[[gnu::target("avx512f,avx512bf16")]] double loop_avx512_bf16(int64_t rounds) {
  __m512 sum[kChains];
  __m512i a = _mm512_set1_epi32(0x3f803f80), b = a;
  for (int i = 0; i < kChains; ++i) sum[i] = _mm512_setzero_ps();
  for (int64_t round = 0; round < rounds; ++round) {
    __asm__ volatile("" : "+v"(a));
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sum[i] = _mm512_dpbf16_ps(sum[i], (__m512bh)a, (__m512bh)b);
  }
  for (int i = 1; i < kChains; ++i) sum[0] = _mm512_add_ps(sum[0], sum[i]);
  __asm__ volatile("" : "+v"(sum[0]));
  return kChains * 32 * 2.0;
}

[[gnu::target("avx512f,avx512vnni")]] double loop_vnni(int64_t rounds) {
  __m512i sum[kChains];
  __m512i a = _mm512_set1_epi32(0x01010101), b = a;
  for (int i = 0; i < kChains; ++i) sum[i] = _mm512_setzero_si512();
  for (int64_t round = 0; round < rounds; ++round) {
    __asm__ volatile("" : "+v"(a));
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sum[i] = _mm512_dpbusd_epi32(sum[i], a, b);
  }
  for (int i = 1; i < kChains; ++i) sum[0] = _mm512_add_epi32(sum[0], sum[i]);
  __asm__ volatile("" : "+v"(sum[0]));
  return kChains * 64 * 2.0;
}

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

[[gnu::target("amx-tile,amx-bf16")]] double loop_amx(int64_t rounds) {
  const TileConfig config;
  __asm__ volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
  for (int64_t i = 0; i < rounds; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
  return 4 * 16 * 16 * 32 * 2.0;
}

[[gnu::target("amx-tile,amx-int8")]] double loop_amx_int8(int64_t rounds) {
  const TileConfig config;
  __asm__ volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
  for (int64_t i = 0; i < rounds; ++i) {
    _tile_dpbsud(0, 4, 6);
    _tile_dpbsud(1, 4, 7);
    _tile_dpbsud(2, 5, 6);
    _tile_dpbsud(3, 5, 7);
  }
  _tile_release();
  return 4 * 16 * 16 * 64 * 2.0;
}

using Loop = double (*)(int64_t rounds);

Loop register_loop(DType dtype, CpuIsa isa) {
  if (dtype == DType::kI8 && isa == CpuIsa::kAmx) return loop_amx_int8;
  if (dtype == DType::kI8 && isa == CpuIsa::kAvx512Bf16) return loop_vnni;
  if (dtype == DType::kBF16 && isa == CpuIsa::kAmx) return loop_amx;
  if (dtype == DType::kBF16 && isa == CpuIsa::kAvx512Bf16) return loop_avx512_bf16;
  return isa >= CpuIsa::kAvx512 ? loop_avx512 : loop_avx2;
}

[[gnu::target("avx2")]] void read_all(const std::byte* data, int64_t bytes) {
  __m256i sum[4] = {};
  for (int64_t i = 0; i < bytes; i += 128) {
    _mm_prefetch(reinterpret_cast<const char*>(data + i + 4096), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(data + i + 4096 + 64), _MM_HINT_T0);
    for (int j = 0; j < 4; ++j)
      sum[j] = _mm256_add_epi64(
          sum[j], _mm256_load_si256(reinterpret_cast<const __m256i*>(data + i + 32 * j)));
  }
  for (__m256i& s : sum) __asm__ volatile("" : "+v"(s));
}

}  // namespace

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double register_gflops(DType dtype, CpuIsa isa, WorkerPool& pool) {
  const Loop loop = register_loop(dtype, isa);
  const double start = seconds_now();
  loop(20000);
  const auto rounds = static_cast<int64_t>(20000 * 0.01 / (seconds_now() - start));
  std::vector<double> rates(static_cast<size_t>(pool.workers()));
  pool.parallel_for(pool.workers(), [&](int, int64_t index) {
    const double begin = seconds_now();
    const double operations = loop(rounds) * static_cast<double>(rounds);
    rates[static_cast<size_t>(index)] = operations / (seconds_now() - begin) / 1e9;
  });
  return std::accumulate(rates.begin(), rates.end(), 0.0);
}

double dequantise_gigabytes(const PackedWeight& weight, DType dtype, CpuIsa isa, WorkerPool& pool) {
  constexpr int64_t kTiles = 8;
  const WeightTiles tiles(weight, dtype, isa);
  const Buffer made = allocate_host(pool.workers() * kTiles * kTileBytes);
  std::vector<double> rates(static_cast<size_t>(pool.workers()));
  pool.parallel_for(pool.workers(), [&](int, int64_t index) {
    std::byte* target = made.data() + index * kTiles * kTileBytes;
    int64_t bytes = 0;
    const double begin = seconds_now();
    for (; seconds_now() - begin < 0.01; bytes += 100 * kTiles * tiles.resting_bytes())
      for (int i = 0; i < 100; ++i) tiles.tiles(index, 0, kTiles, target);
    rates[static_cast<size_t>(index)] = static_cast<double>(bytes) / (seconds_now() - begin) / 1e9;
  });
  return std::accumulate(rates.begin(), rates.end(), 0.0);
}

double read_gigabytes(const std::byte* data, int64_t bytes, WorkerPool& pool) {
  const int64_t pieces = 16 * pool.workers(), piece = bytes / pieces / 128 * 128;
  const double begin = seconds_now();
  pool.parallel_for(pieces, [&](int, int64_t index) { read_all(data + index * piece, piece); });
  return static_cast<double>(piece * pieces) / (seconds_now() - begin) / 1e9;
}

}  // namespace zerostream
