// Products of many rows with weights in tiles: unpacked to rows, then through cuBLASLt.
#pragma once

#include "base/buffer.h"
#include "base/kernels.h"
#include "gpu/cuda_device.h"
#include "gpu/cuda_stream.h"
#include "gpu/row_products.h"

namespace zerostream {

// y = x · Wᵀ with its epilogue for a weight in tiles and a source of 16 bits, by runs of panels:
// scratch memory takes a run as rows of the source's type, quantised weights rounded to it, and is
// multiplied before the next. Reading and writing a weight once more pays from kLeastRows on.
//
// Holds `bytes` of device memory. Calls enqueue. Threads: one stream at a time, that of `rows`,
// which must outlive it.
class UnpackedProducts {
 public:
  static constexpr int64_t kLeastRows = 256;

  // bytes: 0 takes no product. Throws what CudaDevice::allocate() does.
  UnpackedProducts(CudaDevice& device, RowProducts& rows, int64_t bytes);

  // Whether there are rows enough, and memory for a run.
  bool takes(const LinearArgs& args) const;
  // Of arguments that it takes and check_args() has passed.
  void multiply(const LinearArgs& args, CudaStream& stream);

 private:
  // Panels that the memory holds at once; pairs of them where the product is gated.
  int64_t panels_of_run(const LinearArgs& args) const;

  RowProducts& rows_;
  const Buffer memory_;
};

}  // namespace zerostream
