// The kernels under test: the fast ones at every instruction set and at several worker counts.
#pragma once

#include <gtest/gtest.h>

#include <ostream>

#include "cpu/cpu_device.h"
#include "cpu/cpu_kernels.h"
#include "cpu/reference_kernels.h"

namespace zerostream {

struct Backend {
  const char* name;
  CpuIsa isa;
  int threads;
  friend std::ostream& operator<<(std::ostream& out, const Backend& backend) {
    return out << backend.name;
  }
};

inline constexpr Backend kBackends[] = {{"avx2", CpuIsa::kAvx2, 1},
                                        {"avx2_three_workers", CpuIsa::kAvx2, 3},
                                        {"avx512", CpuIsa::kAvx512, 2},
                                        {"best", CpuIsa::kAmx, 0}};

inline std::string backend_name(const ::testing::TestParamInfo<Backend>& info) {
  return info.param.name;
}

// A device, a stream of it and the kernels, beside the reference on the same stream.
class BackendTest : public ::testing::TestWithParam<Backend> {
 protected:
  static constexpr int64_t kMaxVocabulary = 70000;

  void SetUp() override {
    if (GetParam().isa == CpuIsa::kAvx512 && device_.isa() < CpuIsa::kAvx512)
      GTEST_SKIP() << "this processor has no AVX-512";
  }

  CpuDevice device_{{.threads = GetParam().threads, .max_isa = GetParam().isa}};
  CpuKernels kernels_{device_, kMaxVocabulary};
  ReferenceKernels reference_;
  std::unique_ptr<Stream> stream_ = device_.make_compute_stream();
};

}  // namespace zerostream
