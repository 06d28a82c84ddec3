#include "bench/plain_onednn.h"

#include <omp.h>

#include <cstring>
#include <vector>

#include "base/buffer.h"
#include "oneapi/dnnl/dnnl.hpp"

namespace zerostream {
namespace {

using dnnl::memory;

class Implementation : public PlainOnednn {
 public:
  Implementation(const PlainOnednnShape& shape, WorkerPool& pool)
      : shape_(shape), pool_(pool), shares_(static_cast<size_t>(pool.workers())) {}

  void prepare(int64_t rows) override {
    source_ = allocate_host(dtype_bytes(shape_.dtype, rows * shape_.inputs));
    for (Share& share : shares_) prepare(share, rows);
  }

  void run(int64_t copy) override {
    pool_.parallel_for(pool_.workers(), [&](int, int64_t index) {
      omp_set_num_threads(1);
      Share& share = shares_[static_cast<size_t>(index)];
      const memory weights(share.primitive_desc.weights_desc(), engine_,
                           share.weights[static_cast<size_t>(copy % shape_.copies)].data());
      share.primitive.execute(share.stream, {{DNNL_ARG_SRC, share.source},
                                             {DNNL_ARG_WEIGHTS, weights},
                                             {DNNL_ARG_DST, share.target}});
      share.stream.wait();
    });
  }

 private:
  struct Share {
    dnnl::matmul::primitive_desc primitive_desc;
    dnnl::matmul primitive;
    dnnl::stream stream;
    std::vector<Buffer> weights;
    Buffer target_buffer;
    memory source, target;
  };

  void prepare(Share& share, int64_t rows) {
    const auto type =
        shape_.dtype == DType::kBF16 ? memory::data_type::bf16 : memory::data_type::f32;
    const int64_t outputs = shape_.outputs / pool_.workers();
    const memory::desc source({rows, shape_.inputs}, type, memory::format_tag::ab);
    const memory::desc weights({shape_.inputs, outputs}, type, memory::format_tag::any);
    const memory::desc target({rows, outputs}, memory::data_type::f32, memory::format_tag::ab);
    omp_set_num_threads(1);
    share.primitive_desc = {{source, weights, target}, engine_};
    share.primitive = dnnl::matmul(share.primitive_desc);
    share.stream = dnnl::stream(engine_);
    share.source = memory(source, engine_, source_.data());
    share.target_buffer = allocate_host(static_cast<int64_t>(target.get_size()));
    share.target = memory(target, engine_, share.target_buffer.data());
    const auto bytes = static_cast<int64_t>(share.primitive_desc.weights_desc().get_size());
    if (!share.weights.empty() && share.weights[0].size() == bytes) return;
    share.weights.clear();
    for (int64_t copy = 0; copy < shape_.copies; ++copy)
      share.weights.push_back(allocate_host(bytes));
  }

  const PlainOnednnShape shape_;
  WorkerPool& pool_;
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  Buffer source_;
  std::vector<Share> shares_;
};

}  // namespace

std::unique_ptr<PlainOnednn> make_plain_onednn(const PlainOnednnShape& shape, WorkerPool& pool) {
  if (shape.dtype != DType::kBF16 && shape.dtype != DType::kF32) return nullptr;
  return std::make_unique<Implementation>(shape, pool);
}

}  // namespace zerostream
