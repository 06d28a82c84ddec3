#include "cpu/cpu_isa.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "zerostream/error.h"

namespace zerostream {
namespace {

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}

// The register states that the system saves: without its bit a register must not be touched.
uint64_t saved_states() {
  constexpr uint32_t kOsxsave = 1u << 27;
  if ((cpuid(1).ecx & kOsxsave) == 0) return 0;
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

constexpr uint64_t kYmmState = 0x6;
constexpr uint64_t kZmmState = 0xe6;
constexpr uint64_t kTileState = 0x60000;

constexpr bool has_bit(uint32_t word, int bit) { return (word >> bit & 1) != 0; }
constexpr bool has_all(uint64_t word, uint64_t bits) { return (word & bits) == bits; }

std::string missing_for_avx2() {
  const Registers one = cpuid(1), seven = cpuid(7);
  std::string missing;
  const auto need = [&](bool present, const char* name) {
    if (!present) missing += missing.empty() ? name : std::string(", ") + name;
  };
  need(has_bit(one.ecx, 1), "PCLMUL");
  need(has_bit(one.ecx, 12), "FMA");
  need(has_bit(one.ecx, 25), "AES");
  need(has_bit(one.ecx, 29), "F16C");
  need(has_bit(seven.ebx, 3), "BMI1");
  need(has_bit(seven.ebx, 5), "AVX2");
  need(has_bit(seven.ebx, 8), "BMI2");
  need(has_all(saved_states(), kYmmState), "AVX registers enabled by the system");
  return missing;
}

bool has_avx512() {
  constexpr uint32_t kFDqCdBwVl = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31;
  return has_all(cpuid(7).ebx, kFDqCdBwVl) && has_all(saved_states(), kZmmState);
}

bool has_avx512_bf16() { return has_bit(cpuid(7, 1).eax, 5) && has_bit(cpuid(7).ecx, 11); }

bool has_amx() {
  constexpr uint32_t kBf16TileAndInt8 = 1u << 22 | 1u << 24 | 1u << 25;
  if (!has_all(cpuid(7).edx, kBf16TileAndInt8) || !has_all(saved_states(), kTileState))
    return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // of arch_prctl(2)
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

std::string_view cpu_isa_name(CpuIsa isa) {
  switch (isa) {
    case CpuIsa::kAvx2:
      return "AVX2";
    case CpuIsa::kAvx512:
      return "AVX-512";
    case CpuIsa::kAvx512Bf16:
      return "AVX-512 BF16";
    case CpuIsa::kAmx:
      return "AMX";
  }
  return "?";
}

CpuIsa detect_cpu_isa() {
  const std::string missing = missing_for_avx2();
  if (!missing.empty())
    throw DeviceError("this processor lacks what the CPU device needs: " + missing);
  if (!has_avx512()) return CpuIsa::kAvx2;
  if (!has_avx512_bf16()) return CpuIsa::kAvx512;
  return has_amx() ? CpuIsa::kAmx : CpuIsa::kAvx512Bf16;
}

std::string cpu_brand() {
  constexpr uint32_t kFirst = 0x80000002u, kLast = 0x80000004u;
  if (cpuid(0x80000000u).eax < kLast) return "x86-64";
  std::string brand;
  for (uint32_t leaf = kFirst; leaf <= kLast; ++leaf) {
    const Registers r = cpuid(leaf);
    char text[sizeof(r)];
    std::memcpy(text, &r, sizeof(r));
    brand.append(text, strnlen(text, sizeof(text)));
  }
  const size_t begin = brand.find_first_not_of(' ');
  if (begin == std::string::npos) return "x86-64";
  return brand.substr(begin, brand.find_last_not_of(' ') + 1 - begin);
}

}  // namespace zerostream
