// The same multiplication with oneDNN, as a ceiling to compare with.
#pragma once

#include <memory>

#include "base/tensor.h"
#include "cpu/worker_pool.h"

namespace zerostream {

// One single-threaded matmul per worker, each with a share of the outputs, weights in the format
// that oneDNN likes best, dense fp32 target. Weights are zeros, `copies` of them, used in turn.
class PlainOnednn {
 public:
  virtual ~PlainOnednn() = default;
  virtual void prepare(int64_t rows) = 0;  // any number of times
  virtual void run(int64_t copy) = 0;
};

struct PlainOnednnShape {
  DType dtype = DType::kBF16;  // or kF32
  int64_t inputs = 0;
  int64_t outputs = 0;
  int64_t copies = 1;
};

// Null where the benchmark was built without oneDNN, or where it cannot multiply this type.
std::unique_ptr<PlainOnednn> make_plain_onednn(const PlainOnednnShape& shape, WorkerPool& pool);

}  // namespace zerostream
