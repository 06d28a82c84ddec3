// The functions of cublasLt.h.
#include <algorithm>
#include <cstring>

#include "base/dtype.h"
#include "tests/cuda_emulator/include/cublasLt.h"
#include "tests/cuda_emulator/runtime.h"

using cuda_emulator::MemoryKind;
using cuda_emulator::Runtime;
using zerostream::DType;

struct cublasLtContext {};

namespace {

// What the only algorithm keeps of how it was chosen.
struct Algorithm {
  uint64_t mark;
  uint64_t workspace_bytes;
  uint32_t alignments[4];
};
constexpr uint64_t kMark = 0x656d756c61746564;
constexpr uint64_t kWorkspaceBytes = 1 << 16;  // it asks for some, so that a missing one shows
constexpr uint32_t kBiasAlignment = 16;        // that kernels may count on, whatever was said

cublasStatus_t refuse(const char* why, cublasStatus_t status = CUBLAS_STATUS_INVALID_VALUE) {
  Runtime::get().refuse(cudaErrorInvalidValue, why);
  return status;
}

DType dtype_of(cudaDataType type) {
  return type == CUDA_R_32F ? DType::kF32 : type == CUDA_R_16F ? DType::kF16 : DType::kBF16;
}

int64_t bytes_of(const cublasLtMatrixLayoutOpaque_t& m) {
  const auto elements = static_cast<int64_t>(m.cols - 1) * m.stride + static_cast<int64_t>(m.rows);
  return zerostream::dtype_bytes(dtype_of(m.type), elements);
}

bool has_bias(const cublasLtMatmulDescOpaque_t& product) {
  return (product.epilogue & CUBLASLT_EPILOGUE_BIAS) != 0;
}

struct Product {
  cublasLtMatmulDescOpaque_t kind;
  cublasLtMatrixLayoutOpaque_t a, b, d;

  // CUBLAS_STATUS_SUCCESS if the shapes and types fit together and are emulated.
  cublasStatus_t check() const {
    if (kind.first != CUBLAS_OP_T) return refuse("a product that does not transpose A");
    if (a.rows != b.rows || a.cols != d.rows || b.cols != d.cols || d.rows * d.cols * a.rows == 0)
      return refuse("the shapes of a product do not fit");
    for (const auto& matrix : {a, b, d})
      if (matrix.stride < static_cast<int64_t>(matrix.rows))
        return refuse("the columns of a matrix overlap");
    if (a.type != b.type || (d.type != a.type && d.type != CUDA_R_32F))
      return refuse("a product of these types", CUBLAS_STATUS_NOT_SUPPORTED);
    if (has_bias(kind) && (kind.bias == nullptr || kind.bias_type != CUDA_R_32F))
      return refuse("a bias is missing, or its type is not emulated");
    if (has_bias(kind) && d.type != CUDA_R_32F)
      return refuse("a bias of another type than D", CUBLAS_STATUS_NOT_SUPPORTED);
    return CUBLAS_STATUS_SUCCESS;
  }

  void multiply(const void* weight, const void* source, float beta, void* target) const {
    const DType from = dtype_of(a.type), to = dtype_of(d.type);
    for (uint64_t col = 0; col < d.cols; ++col)
      for (uint64_t row = 0; row < d.rows; ++row) {
        float sum = 0;
        for (uint64_t k = 0; k < a.rows; ++k)
          sum += zerostream::load_float(weight, from, place(a, k, row)) *
                 zerostream::load_float(source, from, place(b, k, col));
        if (beta != 0) sum += beta * zerostream::load_float(target, to, place(d, row, col));
        if (has_bias(kind)) sum += kind.bias[row];
        if ((kind.epilogue & CUBLASLT_EPILOGUE_RELU) != 0) sum = std::max(sum, 0.0f);
        zerostream::store_float(target, to, place(d, row, col), sum);
      }
  }
  static int64_t place(const cublasLtMatrixLayoutOpaque_t& matrix, uint64_t row, uint64_t col) {
    return static_cast<int64_t>(col) * matrix.stride + static_cast<int64_t>(row);
  }
};

bool on_device(const void* data, int64_t bytes) {
  const auto range = Runtime::get().memory().find(data);
  return range && range->kind == MemoryKind::kDevice &&
         range->holds(data, static_cast<size_t>(bytes));
}

bool aligned(const void* data, uint32_t bytes) {
  return reinterpret_cast<uintptr_t>(data) % bytes == 0;
}

cublasStatus_t enter(const char* function) {
  return Runtime::get().enter(function) == cudaSuccess ? CUBLAS_STATUS_SUCCESS
                                                       : CUBLAS_STATUS_EXECUTION_FAILED;
}

template <typename T>
bool take(T& target, const void* value, size_t bytes) {
  if (bytes != sizeof(T)) return false;
  std::memcpy(&target, value, bytes);
  return true;
}

}  // namespace

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  if (enter("cublasLtCreate") != CUBLAS_STATUS_SUCCESS) return CUBLAS_STATUS_NOT_INITIALIZED;
  *handle = new cublasLtContext;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

const char* cublasLtGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
  }
  return "unknown status";
}

cublasStatus_t cublasLtMatrixLayoutInit(cublasLtMatrixLayout_t layout, cudaDataType type,
                                        uint64_t rows, uint64_t cols, int64_t stride) {
  *layout = {type, rows, cols, stride};
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescInit(cublasLtMatmulDesc_t product, cublasComputeType_t,
                                      cudaDataType scale) {
  if (scale != CUDA_R_32F) return refuse("sums that are not scaled in fp32");
  *product = {};
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t product,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  const bool taken =
      attribute == CUBLASLT_MATMUL_DESC_TRANSA         ? take(product->first, value, bytes)
      : attribute == CUBLASLT_MATMUL_DESC_EPILOGUE     ? take(product->epilogue, value, bytes)
      : attribute == CUBLASLT_MATMUL_DESC_BIAS_POINTER ? take(product->bias, value, bytes)
                                                       : take(product->bias_type, value, bytes);
  return taken ? CUBLAS_STATUS_SUCCESS : refuse("an attribute of a product has another size");
}

cublasStatus_t cublasLtMatmulPreferenceInit(cublasLtMatmulPreference_t preference) {
  *preference = {};
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, size_t bytes) {
  uint32_t reduction = 0;
  const bool taken =
      attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES
          ? take(preference->workspace_bytes, value, bytes)
      : attribute == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK
          ? take(reduction, value, bytes)
          : take(preference->alignments[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES],
                 value, bytes);
  return taken ? CUBLAS_STATUS_SUCCESS : refuse("a preference has another size");
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t product,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int most,
                                              cublasLtMatmulHeuristicResult_t* results,
                                              int* count) {
  *count = 0;
  if (enter("cublasLtMatmulAlgoGetHeuristic") != CUBLAS_STATUS_SUCCESS || most < 1)
    return CUBLAS_STATUS_INVALID_VALUE;
  if (std::memcmp(c, d, sizeof(*c)) != 0) return refuse("C has another layout than D");
  if (preference->workspace_bytes < kWorkspaceBytes) return CUBLAS_STATUS_NOT_SUPPORTED;
  const Product checked = {*product, *a, *b, *d};
  if (const cublasStatus_t status = checked.check()) return status;
  Algorithm chosen = {kMark, kWorkspaceBytes, {}};
  std::copy(std::begin(preference->alignments), std::end(preference->alignments),
            chosen.alignments);
  results[0] = {};
  std::memcpy(results[0].algo.data, &chosen, sizeof(chosen));
  results[0].workspaceSize = kWorkspaceBytes;
  results[0].state = CUBLAS_STATUS_SUCCESS;
  *count = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t, cublasLtMatmulDesc_t product,
                                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                       cublasLtMatrixLayout_t, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t* algorithm,
                                       cublasLtMatmulHeuristicResult_t* result) {
  if (algorithm->data[0] != kMark) return refuse("an algorithm that was never chosen");
  if (result != nullptr) {
    Algorithm chosen;
    std::memcpy(&chosen, algorithm->data, sizeof(chosen));
    result->workspaceSize = chosen.workspace_bytes;
  }
  return Product{*product, *a, *b, *d}.check();
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t*,
                                                    cublasLtMatmulAlgoConfigAttributes_t,
                                                    void* value, size_t bytes, size_t* written) {
  const int32_t parts = 1;
  if (bytes != sizeof(parts)) return refuse("an attribute of an algorithm has another size");
  std::memcpy(value, &parts, bytes);
  *written = bytes;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t kind, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t a_layout, const void* b,
                              cublasLtMatrixLayout_t b_layout, const void* beta, const void* c,
                              cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                              size_t workspace_bytes, cudaStream_t stream) {
  if (const cublasStatus_t status = enter("cublasLtMatmul")) return status;
  const Product product = {*kind, *a_layout, *b_layout, *d_layout};
  if (const cublasStatus_t status = cublasLtMatmulAlgoCheck(handle, kind, a_layout, b_layout,
                                                            c_layout, d_layout, algorithm, nullptr))
    return status;
  Algorithm chosen;
  std::memcpy(&chosen, algorithm->data, sizeof(chosen));
  if (*static_cast<const float*>(alpha) != 1 || c != d)
    return refuse("a product that is scaled, or added to another matrix");
  if (workspace_bytes < chosen.workspace_bytes ||
      !on_device(workspace, static_cast<int64_t>(workspace_bytes)))
    return refuse("the workspace of a product is too small or not on the device");
  if (!on_device(a, bytes_of(product.a)) || !on_device(b, bytes_of(product.b)) ||
      !on_device(d, bytes_of(product.d)) ||
      (has_bias(product.kind) &&
       !on_device(product.kind.bias, static_cast<int64_t>(product.d.rows * sizeof(float)))))
    return refuse("a matrix of a product leaves its allocation");
  if (!aligned(a, chosen.alignments[0]) || !aligned(b, chosen.alignments[1]) ||
      !aligned(c, chosen.alignments[2]) || !aligned(d, chosen.alignments[3]))
    return refuse("a matrix is aligned worse than the algorithm was chosen for");
  if (has_bias(product.kind) && !aligned(product.kind.bias, kBiasAlignment))
    return refuse("a bias is not aligned to 16 bytes");
  Runtime::get().count([](auto& counters) { ++counters.launches; });
  stream->push([=, scale = *static_cast<const float*>(beta)] {
    Runtime::get().run([&] { product.multiply(a, b, scale, d); });
  });
  return CUBLAS_STATUS_SUCCESS;
}
