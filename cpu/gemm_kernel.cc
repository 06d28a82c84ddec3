#include "cpu/gemm_kernel.h"

namespace zerostream {

PanelKernel panel_kernel(DType dtype, CpuIsa isa) {
  if (dtype == DType::kI8 && isa >= CpuIsa::kAmx) return amx_int8_panel_kernel();
  if (dtype == DType::kI8 && isa >= CpuIsa::kAvx512Bf16) return vnni_panel_kernel();
  if (dtype == DType::kI8) return simd_int8_panel_kernel(isa);
  if (dtype == DType::kBF16 && isa >= CpuIsa::kAmx) return amx_panel_kernel();
  if (dtype == DType::kBF16 && isa >= CpuIsa::kAvx512Bf16) return avx512_bf16_panel_kernel();
  return simd_panel_kernel(dtype, isa);
}

}  // namespace zerostream
