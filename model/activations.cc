#include "model/activations.h"

#include <array>

#include "base/fill_zero.h"

namespace zerostream {

// Shapes of all views; offsets follow from their order.
struct Activations::Plan {
  struct Entry {
    TensorView Activations::*view;
    DType dtype;
    int64_t rows, cols;

    // To the tile border of every dtype that a weight may have.
    int64_t row_stride() const { return round_up(cols, tile_inputs(DType::kI4)); }
    int64_t bytes() const { return round_up(dtype_bytes(dtype, rows * row_stride()), kTileBytes); }
  };
  std::array<Entry, 11> entries;

  Plan(const ModelConfig& config, DType compute, int64_t tokens, int64_t logit_rows) {
    const bool projects = config.embedding_size != config.hidden_size;
    const int64_t embedded = projects ? config.embedding_size : 0;
    entries = {{{&Activations::embedded, DType::kF32, tokens, embedded},
                {&Activations::embedded_compute, compute, tokens, embedded},
                {&Activations::hidden, DType::kF32, tokens, config.hidden_size},
                {&Activations::normed, compute, tokens, config.hidden_size},
                {&Activations::qkv, DType::kF32, tokens, config.qkv_size()},
                {&Activations::query, DType::kF32, tokens, config.query_size()},
                {&Activations::attended, compute, tokens, config.query_size()},
                {&Activations::mlp, compute, tokens, config.intermediate_size},
                {&Activations::last_hidden, compute, logit_rows, config.hidden_size},
                {&Activations::projected, compute, logit_rows, embedded},
                {&Activations::logits, DType::kF32, logit_rows, config.vocab_size}}};
  }
  int64_t bytes() const {
    int64_t sum = 0;
    for (const Entry& entry : entries) sum += entry.bytes();
    return sum;
  }
};

int64_t Activations::bytes(const ModelConfig& config, DType compute, int64_t max_tokens,
                           int64_t max_logit_rows) {
  return Plan(config, compute, max_tokens, max_logit_rows).bytes();
}

Activations::Activations(const ModelConfig& config, DType compute, int64_t max_tokens,
                         int64_t max_logit_rows, Device& device) {
  const Plan plan(config, compute, max_tokens, max_logit_rows);
  memory_ = device.allocate(plan.bytes());
  if (!device.shares_host_memory()) fill_zero(device, memory_);
  std::byte* next = memory_.data();
  for (const Plan::Entry& entry : plan.entries) {
    this->*entry.view = {next, entry.dtype, entry.rows, entry.cols, entry.row_stride()};
    next += entry.bytes();
  }
}

}  // namespace zerostream
