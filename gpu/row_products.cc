#include "gpu/row_products.h"

#include <algorithm>
#include <string>

#include "gpu/launchers.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int64_t kNominalRows = 256;
constexpr int64_t kNominalOutputs = 4096;
constexpr int kMostAlgorithms = 16;
constexpr int64_t kBestAlignment = 16;

cudaDataType data_type(DType dtype) {
  return dtype == DType::kF32 ? CUDA_R_32F : dtype == DType::kF16 ? CUDA_R_16F : CUDA_R_16BF;
}

// Bytes that every row of a matrix is aligned to.
int64_t row_alignment(DType dtype, int64_t row_stride) {
  const int64_t bytes = dtype_bytes(dtype, row_stride);
  return std::min(kBestAlignment, bytes & -bytes);
}

// ReLU and an fp32 bias are done by cuBLASLt where sums are stored as they are.
bool has_plain_epilogue(const LinearArgs& args) {
  if (args.epilogue == Epilogue::kGated) return false;
  if (args.bias != nullptr && args.target.dtype != DType::kF32) return false;
  return args.epilogue != Epilogue::kActivate || args.activation == Activation::kRelu ||
         args.activation == Activation::kNone;
}

std::string describe(cublasStatus_t status, const char* call, int device) {
  std::string text = call;
  text.append(" on GPU ").append(std::to_string(device)).append(": ");
  return text.append(cublasLtGetStatusName(status));
}

}  // namespace

// One call of cuBLASLt, whose matrices have columns where ours have rows.
struct RowProducts::Product {
  const std::byte* weight;
  DType dtype;
  int64_t inputs;
  int64_t outputs;
  TensorView source;
  TensorView target;
  const float* bias;
  bool relu;
  bool adds;

  explicit Product(const LinearArgs& args)
      : weight(args.weight.data),
        dtype(args.weight.dtype),
        inputs(args.weight.inputs),
        outputs(args.weight.outputs),
        source(args.source),
        target(args.target),
        bias(args.bias),
        relu(args.epilogue == Epilogue::kActivate && args.activation == Activation::kRelu),
        adds(args.epilogue == Epilogue::kAdd) {}

  Kind kind() const {
    return {static_cast<int64_t>(dtype),
            static_cast<int64_t>(target.dtype),
            inputs,
            source.row_stride,
            target.row_stride,
            bias != nullptr,
            relu,
            adds};
  }
  bool aligned() const {
    const auto holds = [](const void* data, DType type, int64_t row_stride) {
      return reinterpret_cast<intptr_t>(data) % row_alignment(type, row_stride) == 0;
    };
    return holds(weight, dtype, inputs) && holds(source.data, dtype, source.row_stride) &&
           holds(target.data, target.dtype, target.row_stride) &&
           reinterpret_cast<intptr_t>(bias) % kBestAlignment == 0;  // no preference speaks of it
  }
};

namespace {

// The descriptions of a product that cuBLASLt wants; they own nothing.
struct Descriptions {
  cublasLtMatmulDescOpaque_t product;
  cublasLtMatrixLayoutOpaque_t weight;
  cublasLtMatrixLayoutOpaque_t source;
  cublasLtMatrixLayoutOpaque_t target;

  template <typename Product>
  Descriptions(const Product& p, int64_t outputs, int64_t rows) {
    const auto set = [this](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
      cublasLtMatmulDescSetAttribute(&product, attribute, &value, sizeof(value));
    };
    cublasLtMatmulDescInit(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    int epilogue = p.relu ? CUBLASLT_EPILOGUE_RELU : CUBLASLT_EPILOGUE_DEFAULT;
    if (p.bias != nullptr) {
      epilogue = p.relu ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_BIAS;
      set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
      set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_32F);
    }
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, static_cast<cublasLtEpilogue_t>(epilogue));
    const cudaDataType type = data_type(p.dtype);
    cublasLtMatrixLayoutInit(&weight, type, static_cast<uint64_t>(p.inputs),
                             static_cast<uint64_t>(outputs), p.inputs);
    cublasLtMatrixLayoutInit(&source, type, static_cast<uint64_t>(p.inputs),
                             static_cast<uint64_t>(rows), p.source.row_stride);
    cublasLtMatrixLayoutInit(&target, data_type(p.target.dtype), static_cast<uint64_t>(outputs),
                             static_cast<uint64_t>(rows), p.target.row_stride);
  }
};

template <typename Product>
cublasLtMatmulPreferenceOpaque_t preferences(const Product& product, uint64_t workspace_bytes) {
  cublasLtMatmulPreferenceOpaque_t preference;
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &value, sizeof(value));
  };
  const auto alignment = [](DType dtype, int64_t row_stride) {
    return static_cast<uint32_t>(row_alignment(dtype, row_stride));
  };
  cublasLtMatmulPreferenceInit(&preference);
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes);
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE});
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(product.dtype, product.inputs));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
      alignment(product.dtype, product.source.row_stride));
  const uint32_t target = alignment(product.target.dtype, product.target.row_stride);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, target);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, target);
  return preference;
}

bool splits_inputs(const cublasLtMatmulAlgo_t& algorithm) {
  int32_t parts = 1;
  size_t written = 0;
  cublasLtMatmulAlgoConfigGetAttribute(&algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &parts,
                                       sizeof(parts), &written);
  return parts > 1;
}

}  // namespace

RowProducts::RowProducts(CudaDevice& device, const KernelLimits& limits)
    : device_(device.number()),
      workspace_(device.allocate(limits.workspace_bytes)),
      sums_(device.allocate(limits.sum_bytes)) {
  const cublasStatus_t status = cublasLtCreate(&handle_);
  if (status != CUBLAS_STATUS_SUCCESS)
    throw DeviceError(describe(status, "cublasLtCreate", device_));
}

RowProducts::~RowProducts() { cublasLtDestroy(handle_); }

std::optional<cublasLtMatmulAlgo_t> RowProducts::choose(const Product& product) const {
  Descriptions nominal(product, std::min(kNominalOutputs, product.target.row_stride), kNominalRows);
  Descriptions smallest(product, std::min(kPanelOutputs, product.target.row_stride), 1);
  cublasLtMatmulPreferenceOpaque_t preference =
      preferences(product, static_cast<uint64_t>(workspace_.size()));
  cublasLtMatmulHeuristicResult_t found[kMostAlgorithms];
  int count = 0;
  if (cublasLtMatmulAlgoGetHeuristic(handle_, &nominal.product, &nominal.weight, &nominal.source,
                                     &nominal.target, &nominal.target, &preference, kMostAlgorithms,
                                     found, &count) != CUBLAS_STATUS_SUCCESS)
    return std::nullopt;
  for (int i = 0; i < count; ++i) {
    cublasLtMatmulHeuristicResult_t checked;
    if (found[i].state == CUBLAS_STATUS_SUCCESS && !splits_inputs(found[i].algo) &&
        cublasLtMatmulAlgoCheck(handle_, &smallest.product, &smallest.weight, &smallest.source,
                                &smallest.target, &smallest.target, &found[i].algo,
                                &checked) == CUBLAS_STATUS_SUCCESS)
      return found[i].algo;
  }
  return std::nullopt;
}

bool RowProducts::takes(const Product& product, const cublasLtMatmulAlgo_t& algorithm,
                        int64_t rows) const {
  Descriptions actual(product, product.outputs, rows);
  cublasLtMatmulHeuristicResult_t checked;
  return cublasLtMatmulAlgoCheck(handle_, &actual.product, &actual.weight, &actual.source,
                                 &actual.target, &actual.target, &algorithm,
                                 &checked) == CUBLAS_STATUS_SUCCESS &&
         static_cast<int64_t>(checked.workspaceSize) <= workspace_.size();
}

const cublasLtMatmulAlgo_t* RowProducts::algorithm(const Product& product) {
  if (!product.aligned()) return nullptr;
  const Kind kind = product.kind();
  auto found = algorithms_.find(kind);
  if (found == algorithms_.end()) found = algorithms_.emplace(kind, choose(product)).first;
  return found->second ? &*found->second : nullptr;
}

void RowProducts::enqueue(const Product& product, const cublasLtMatmulAlgo_t& algorithm,
                          CudaStream& stream) {
  stream.enqueue([&](cudaStream_t cuda_stream) -> std::string {
    Descriptions actual(product, product.outputs, product.source.rows);
    const float one = 1, beta = product.adds ? 1 : 0;
    const cublasStatus_t status =
        cublasLtMatmul(handle_, &actual.product, &one, product.weight, &actual.weight,
                       product.source.data, &actual.source, &beta, product.target.data,
                       &actual.target, product.target.data, &actual.target, &algorithm,
                       workspace_.data(), static_cast<size_t>(workspace_.size()), cuda_stream);
    if (status == CUBLAS_STATUS_SUCCESS) return "";
    std::string text = describe(status, "cublasLtMatmul", device_);
    text.append(" for ").append(std::to_string(product.source.rows)).append(" rows and ");
    text.append(std::to_string(product.outputs)).append(" x ");
    return text.append(std::to_string(product.inputs)).append(" weights");
  });
}

bool RowProducts::multiply(const LinearArgs& args, CudaStream& stream) {
  if (args.target.rows == 0) return true;
  Product product(args);
  if (has_plain_epilogue(args)) {
    const cublasLtMatmulAlgo_t* chosen = algorithm(product);
    if (chosen == nullptr || !takes(product, *chosen, product.source.rows)) return false;
    enqueue(product, *chosen, stream);
    return true;
  }
  product.bias = nullptr;
  product.relu = product.adds = false;
  product.target = {sums_.data(), DType::kF32, 0, product.outputs,
                    round_up(product.outputs, kPanelOutputs)};
  const cublasLtMatmulAlgo_t* chosen = algorithm(product);
  const int64_t rows_at_once = std::min(
      sums_.size() / dtype_bytes(DType::kF32, product.target.row_stride), args.target.rows);
  if (chosen == nullptr || rows_at_once == 0 || !takes(product, *chosen, rows_at_once) ||
      !takes(product, *chosen, (args.target.rows - 1) % rows_at_once + 1))
    return false;
  for (int64_t row = 0; row < args.target.rows; row += rows_at_once) {
    LinearArgs part = args;
    const int64_t rows = std::min(rows_at_once, args.target.rows - row);
    part.target = args.target.row_range(row, rows);
    product.source = args.source.row_range(row, rows);
    product.target.rows = rows;
    enqueue(product, *chosen, stream);
    launch_epilogue(part, product.target, stream);
  }
  return true;
}

}  // namespace zerostream
