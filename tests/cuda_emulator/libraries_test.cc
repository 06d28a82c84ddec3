// The emulated cuBLASLt and tensor cores: right results, and refusals of what real ones would
// answer with nonsense.
#include <cublasLt.h>
#include <cuda_runtime.h>
#include <gmock/gmock.h>

#include <tensor_core.cuh>
#include <vector>

#include "tests/cuda_emulator/emulator.h"

namespace {

using ::testing::HasSubstr;
using zerostream::multiply_add;
using zerostream::pack_pair;

// d = a · b; a [16, 16], b [16, 8], d [16, 8], in rows.
__global__ void multiply_once(const float* a, const float* b, float* d) {
  const int g = static_cast<int>(threadIdx.x) / 4, t = static_cast<int>(threadIdx.x) % 4;
  const auto pair_of_a = [&](int row, int col) {
    return pack_pair<__half>(a[row * 16 + col], a[row * 16 + col + 1]);
  };
  const auto pair_of_b = [&](int row) {
    return pack_pair<__half>(b[row * 8 + g], b[row * 8 + 8 + g]);
  };
  float sums[4] = {};
  multiply_add<__half>(sums,
                       {pair_of_a(g, 2 * t), pair_of_a(g + 8, 2 * t), pair_of_a(g, 2 * t + 8),
                        pair_of_a(g + 8, 2 * t + 8)},
                       {pair_of_b(2 * t), pair_of_b(2 * t + 8)});
  for (int i = 0; i < 4; ++i) d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sums[i];
}

class LibrariesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    cuda_emulator::reset();
    cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking);
    cublasLtCreate(&handle_);
  }
  void TearDown() override {
    cublasLtDestroy(handle_);
    cudaStreamDestroy(stream_);
    for (float* memory : memory_) EXPECT_EQ(cudaFree(memory), cudaSuccess);
    cuda_emulator::reset();
  }
  float* on_device(const std::vector<float>& values) {
    void* memory = nullptr;
    EXPECT_EQ(cudaMalloc(&memory, values.size() * sizeof(float)), cudaSuccess);
    EXPECT_EQ(
        cudaMemcpy(memory, values.data(), values.size() * sizeof(float), cudaMemcpyHostToDevice),
        cudaSuccess);
    return memory_.emplace_back(static_cast<float*>(memory));
  }
  std::vector<float> read(const float* source, size_t count) {
    EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
    std::vector<float> values(count);
    EXPECT_EQ(cudaMemcpy(values.data(), source, count * sizeof(float), cudaMemcpyDeviceToHost),
              cudaSuccess);
    return values;
  }

  // d [2, 3] = source [2, 4] · weight [3, 4]ᵀ.
  cublasStatus_t multiply(const float* weight, const float* source, float* d,
                          uint32_t alignment = 4, size_t workspace_bytes = 1 << 16) {
    cublasLtMatmulDescOpaque_t product;
    cublasLtMatmulDescInit(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    const cublasOperation_t transposed = CUBLAS_OP_T;
    cublasLtMatmulDescSetAttribute(&product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                   sizeof(transposed));
    cublasLtMatrixLayoutOpaque_t a, b, c;
    cublasLtMatrixLayoutInit(&a, CUDA_R_32F, 4, 3, 4);
    cublasLtMatrixLayoutInit(&b, CUDA_R_32F, 4, 2, 4);
    cublasLtMatrixLayoutInit(&c, CUDA_R_32F, 3, 2, 3);
    cublasLtMatmulPreferenceOpaque_t preference;
    cublasLtMatmulPreferenceInit(&preference);
    const uint64_t most = 1 << 20;
    cublasLtMatmulPreferenceSetAttribute(&preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                         &most, sizeof(most));
    for (int i = 0; i < 4; ++i)
      cublasLtMatmulPreferenceSetAttribute(&preference,
                                           static_cast<cublasLtMatmulPreferenceAttributes_t>(
                                               CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES + i),
                                           &alignment, sizeof(alignment));
    cublasLtMatmulHeuristicResult_t found;
    int count = 0;
    EXPECT_EQ(cublasLtMatmulAlgoGetHeuristic(handle_, &product, &a, &b, &c, &c, &preference, 1,
                                             &found, &count),
              CUBLAS_STATUS_SUCCESS);
    const float one = 1, zero = 0;
    float* workspace = on_device(std::vector<float>(workspace_bytes / sizeof(float) + 1));
    return cublasLtMatmul(handle_, &product, &one, weight, &a, source, &b, &zero, d, &c, d, &c,
                          &found.algo, workspace, workspace_bytes, stream_);
  }

  cudaStream_t stream_ = nullptr;
  cublasLtHandle_t handle_ = nullptr;
  std::vector<float*> memory_;
};

TEST_F(LibrariesTest, TensorCoresMultiply) {
  std::vector<float> a(256), b(128), expected(128);
  for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i % 11) - 5;
  for (size_t i = 0; i < b.size(); ++i) b[i] = static_cast<float>(i % 7) - 3;
  for (size_t i = 0; i < expected.size(); ++i)
    for (size_t k = 0; k < 16; ++k) expected[i] += a[i / 8 * 16 + k] * b[k * 8 + i % 8];
  float* d = on_device(std::vector<float>(128));
  const cudaLaunchConfig_t config = {.blockDim = 32, .stream = stream_};
  cudaLaunchKernelEx(&config, multiply_once, on_device(a), on_device(b), d);
  EXPECT_EQ(read(d, 128), expected);
}

TEST_F(LibrariesTest, CublasLtMultiplies) {
  float* d = on_device(std::vector<float>(6));
  EXPECT_EQ(multiply(on_device({1, 0, 0, 0, 0, 1, 0, 0, 1, 1, 1, 1}),
                     on_device({1, 2, 3, 4, 5, 6, 7, 8}), d),
            CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(read(d, 6), (std::vector<float>{1, 2, 10, 5, 6, 26}));
}

TEST_F(LibrariesTest, CublasLtRefusesWhatRealOnesWouldNotNotice) {
  float* weight = on_device(std::vector<float>(12));
  float* source = on_device(std::vector<float>(9));
  float* d = on_device(std::vector<float>(6));
  EXPECT_EQ(multiply(weight, source + 2, d), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_THAT(cuda_emulator::last_failure(), HasSubstr("leaves its allocation"));
  EXPECT_EQ(multiply(weight, source + 1, d, 16), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_THAT(cuda_emulator::last_failure(), HasSubstr("aligned worse"));
  EXPECT_EQ(multiply(weight, source, d, 4, 1024), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_THAT(cuda_emulator::last_failure(), HasSubstr("workspace"));
}

}  // namespace
