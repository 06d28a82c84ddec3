// Vectorised operations that work row by row.
#pragma once

#include "base/kernels.h"
#include "cpu/cpu_isa.h"

namespace zerostream {

// Each computes target rows [begin, end) of an operation on the calling thread.
struct RowOps {
  void (*embed)(const EmbedArgs& args, int64_t begin, int64_t end);
  void (*norm)(const NormArgs& args, int64_t begin, int64_t end);
  void (*convert)(const ConvertArgs& args, int64_t begin, int64_t end);
};

const RowOps& row_ops(CpuIsa isa);

}  // namespace zerostream
