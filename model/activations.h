// The intermediate results of a pass.
#pragma once

#include <cstdint>

#include "base/device.h"
#include "base/tensor.h"
#include "model/config.h"

namespace zerostream {

// Device memory for the activations of one pass, for all of its tokens, allocated once. Rows of
// what feeds a matrix product are zero-padded to the tile border of `compute` and stay so: kernels
// write the columns of the view only.
class Activations {
 public:
  // compute: dtype that matrix products read: the weights' own.
  Activations(const ModelConfig& config, DType compute, int64_t max_tokens, int64_t max_logit_rows,
              Device& device);
  // Bytes that the constructor allocates.
  static int64_t bytes(const ModelConfig& config, DType compute, int64_t max_tokens,
                       int64_t max_logit_rows);

  // [max_tokens, ...]; a pass uses the first rows.
  TensorView embedded;          // fp32 [embedding_size], only where it is projected
  TensorView embedded_compute;  // the same in `compute`
  TensorView hidden;            // fp32 [hidden_size]: the residual stream
  TensorView normed;            // compute [hidden_size]
  TensorView qkv;               // fp32 [qkv_size]
  TensorView query;             // fp32 [query_size]
  TensorView attended;          // compute [query_size]
  TensorView mlp;               // compute [intermediate_size]
  // [max_logit_rows, ...]
  TensorView last_hidden;  // compute [hidden_size]
  TensorView projected;    // compute [embedding_size], only where the model projects out
  TensorView logits;       // fp32 [vocab_size]

 private:
  struct Plan;
  Buffer memory_;
};

}  // namespace zerostream
