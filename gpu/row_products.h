// Products with weights in rows through cuBLASLt.
#pragma once

#include <cublasLt.h>

#include <array>
#include <map>
#include <optional>

#include "base/buffer.h"
#include "base/kernel_limits.h"
#include "base/kernels.h"
#include "gpu/cuda_device.h"
#include "gpu/cuda_stream.h"

namespace zerostream {

// y = x · Wᵀ with its epilogue for a weight in rows of any float dtype. fp32 is multiplied as fp32.
//
// The algorithm of a product is chosen once, for a nominal number of rows and outputs, among those
// that do not split the inputs; it is kept. So the bits of a row do not depend on the other rows
// nor on where the weight is cut. cuBLASLt adds an fp32 bias and applies ReLU itself where the
// target is fp32; other epilogues go through sums in scratch memory, some rows at a time.
//
// Holds the limits' sum_bytes and workspace_bytes of device memory. Calls enqueue, and allocate
// host memory only for a kind of product that is new. Threads: one stream at a time.
class RowProducts {
 public:
  // Throws DeviceError and what CudaDevice::allocate() does.
  RowProducts(CudaDevice& device, const KernelLimits& limits);
  ~RowProducts();
  RowProducts(const RowProducts&) = delete;

  // False if cuBLASLt does not take such a product: then nothing was enqueued. `args` must
  // have passed check_args(). Failures are the stream's and name the call and the product.
  bool multiply(const LinearArgs& args, CudaStream& stream);

 private:
  // Everything that an algorithm may depend on.
  using Kind = std::array<int64_t, 8>;
  struct Product;

  const cublasLtMatmulAlgo_t* algorithm(const Product& product);
  std::optional<cublasLtMatmulAlgo_t> choose(const Product& product) const;
  // Whether the algorithm takes `rows` rows of the product as it is.
  bool takes(const Product& product, const cublasLtMatmulAlgo_t& algorithm, int64_t rows) const;
  void enqueue(const Product& product, const cublasLtMatmulAlgo_t& algorithm, CudaStream& stream);

  const int device_;
  cublasLtHandle_t handle_ = nullptr;
  const Buffer workspace_;
  const Buffer sums_;
  std::map<Kind, std::optional<cublasLtMatmulAlgo_t>> algorithms_;
};

}  // namespace zerostream
