// The forward pass of a decoder, in the pieces in which its weights arrive.
#pragma once

#include <cstdint>
#include <span>

#include "base/kernels.h"
#include "model/activations.h"
#include "model/config.h"
#include "model/vector_table.h"
#include "model/weights.h"

namespace zerostream {

// Rows of a pass whose softmax is summed up without keeping their logits; arrays as in PassView.
struct ScoredRows {
  const int32_t* rows = nullptr;     // ascending
  const int32_t* targets = nullptr;  // the token of each whose probability is wanted
  SoftmaxState* states = nullptr;    // as they are made; afterwards complete
  int64_t count = 0;
};

// What one pass computes on; arrays in device memory, valid until the pass is done.
struct PassView {
  int64_t tokens = 0;
  const float* rope_cos = nullptr;  // [tokens, rotary dimension / 2]
  const float* rope_sin = nullptr;
  const int32_t* logit_rows = nullptr;  // rows whose logits are wanted, ascending
  int64_t num_logit_rows = 0;
  ScoredRows scored;
  bool int8_activations = false;  // of products with quantised weights
};

// Rows of an embedding table: row i of the pass at table + byte_offsets[i].
struct EmbeddingRows {
  const std::byte* table = nullptr;
  DType dtype = DType::kF32;
  const int64_t* byte_offsets = nullptr;
};

// A run of the outputs of one matrix, as it lies in a slot.
struct MatrixRun {
  MatrixRole role = MatrixRole::kQkv;
  int32_t layer = kNoLayer;
  PackedWeight weight;
  int64_t output_begin = 0;  // in outputs of the whole matrix (gated: of one source)
  int64_t outputs = 0;
};

// Enqueues a pass on a stream: begin(), embed(), then apply() of every run of every matrix in the
// order of MatrixRole within a layer, layers ascending, runs of a matrix ascending. Behind the last
// run of a layer's kQkv come write_kv() and attend(), each for every sequence of the pass, in one
// call or several, all of write_kv() first: sequences may share blocks. Afterwards
// activations.logits holds a row for each of pass.logit_rows, and each of pass.scored has met the
// logits of its row; a run of the head computes these in parts of activations.logits.rows rows. The
// kinds in the config are data:
// there is one straight line for all architectures.
//
// References must outlive this. Threads: one. Nothing here allocates or waits.
class Forward {
 public:
  Forward(const ModelConfig& config, const VectorTable& vectors, Activations& activations,
          Kernels& kernels, Stream& stream);

  void begin(const PassView& pass);
  // positions.table is null for models without learned positions.
  void embed(const EmbeddingRows& tokens, const EmbeddingRows& positions);
  void apply(const MatrixRun& run);
  // `sequences` stay valid until the pass is done.
  void write_kv(int32_t layer, const KvLayerView& kv, std::span<const SequenceSpan> sequences);
  void attend(int32_t layer, const KvLayerView& kv, std::span<const SequenceSpan> sequences);

  // Multiply-adds of matrix products since the beginning, times two.
  double flops() const { return flops_; }

 private:
  void normalise(VectorRole weight, VectorRole bias, int32_t layer, TensorView target);
  void enter_block(VectorRole weight, VectorRole bias, int32_t layer);
  void leave_block(VectorRole weight, VectorRole bias, int32_t layer);
  void gather_last();
  void gather_rows(const int32_t* indices, TensorView target);
  void score(const MatrixRun& run);
  // bias: of the whole matrix, null for none.
  void linear(const MatrixRun& run, TensorView source, TensorView target, Epilogue epilogue,
              const float* bias);
  TensorView rows(TensorView view) const { return view.row_range(0, pass_.tokens); }
  TensorView logit_rows(TensorView view) const { return view.row_range(0, pass_.num_logit_rows); }
  // Scored rows take the place of what no layer reads any more.
  TensorView scored_rows(TensorView view) const { return view.row_range(0, pass_.scored.count); }

  const ModelConfig& config_;
  const VectorTable& vectors_;
  Activations& activations_;
  Kernels& kernels_;
  Stream& stream_;
  PassView pass_;
  EmbeddingRows positions_;
  double flops_ = 0;
};

}  // namespace zerostream
