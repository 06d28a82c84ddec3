// Instruction sets that the kernels are written for.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace zerostream {

// Each level holds all earlier ones.
enum class CpuIsa : uint8_t {
  kAvx2,        // with FMA, F16C, BMI1/2, AES and PCLMUL, as every processor with AVX2 and FMA has
  kAvx512,      // F, CD, BW, DQ, VL
  kAvx512Bf16,  // dot products of bf16 pairs and of bytes in fours (VNNI)
  kAmx,         // tiles of bf16 and of bytes
};

// "AVX2", "AVX-512", "AVX-512 BF16", "AMX".
std::string_view cpu_isa_name(CpuIsa isa);

// The highest level that the processor and the system support. For AMX this asks the system, once
// for the whole process, for the right to use its registers; where that is refused the level below
// is returned. Throws DeviceError that names what is missing where not even kAvx2 is supported.
CpuIsa detect_cpu_isa();

// The processor's name as it gives it, "x86-64" where it gives none.
std::string cpu_brand();

}  // namespace zerostream
