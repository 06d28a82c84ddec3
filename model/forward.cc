#include "model/forward.h"

#include <algorithm>

#include "base/require.h"

namespace zerostream {

Forward::Forward(const ModelConfig& config, const VectorTable& vectors, Activations& activations,
                 Kernels& kernels, Stream& stream)
    : config_(config),
      vectors_(vectors),
      activations_(activations),
      kernels_(kernels),
      stream_(stream) {}

void Forward::begin(const PassView& pass) {
  require(pass.tokens > 0 && pass.tokens <= activations_.hidden.rows,
          "a pass fits the activations");
  require(pass.num_logit_rows <= activations_.logits.rows, "the pass's logits fit");
  require(pass.scored.count <= pass.tokens, "rows are scored once");
  pass_ = pass;
}

void Forward::embed(const EmbeddingRows& tokens, const EmbeddingRows& positions) {
  const bool projects = activations_.embedded.cols > 0;
  const TensorView target = rows(projects ? activations_.embedded : activations_.hidden);
  kernels_.embed({tokens.table, tokens.dtype, tokens.byte_offsets, false, target}, stream_);
  positions_ = positions;
  if (projects) return;  // positions are added to the projected rows
  if (positions.table != nullptr)
    kernels_.embed({positions.table, positions.dtype, positions.byte_offsets, true, target},
                   stream_);
}

void Forward::apply(const MatrixRun& run) {
  const Activations& a = activations_;
  const bool first = run.output_begin == 0;
  const int64_t end = run.output_begin + run.outputs;
  switch (run.role) {
    case MatrixRole::kTokenEmbedding:
    case MatrixRole::kPositionEmbedding:
      throw InternalError("embeddings are read by row, not applied");

    case MatrixRole::kProjectIn:
      if (first) kernels_.convert({rows(a.embedded), rows(a.embedded_compute)}, stream_);
      linear(run, rows(a.embedded_compute), rows(a.hidden), Epilogue::kStore, nullptr);
      if (end == a.hidden.cols && positions_.table != nullptr)
        kernels_.embed(
            {positions_.table, positions_.dtype, positions_.byte_offsets, true, rows(a.hidden)},
            stream_);
      break;

    case MatrixRole::kQkv:
      if (first)
        enter_block(VectorRole::kAttentionNormWeight, VectorRole::kAttentionNormBias, run.layer);
      linear(run, rows(a.normed), rows(a.qkv), Epilogue::kStore,
             vectors_.get(VectorRole::kQkvBias, run.layer));
      break;

    case MatrixRole::kAttentionOut:
      linear(run, rows(a.attended), rows(a.hidden), Epilogue::kAdd,
             vectors_.get(VectorRole::kAttentionOutBias, run.layer));
      if (end == a.hidden.cols)
        leave_block(VectorRole::kAttentionNormWeight, VectorRole::kAttentionNormBias, run.layer);
      break;

    case MatrixRole::kMlpUp:
      if (first) enter_block(VectorRole::kMlpNormWeight, VectorRole::kMlpNormBias, run.layer);
      linear(run, rows(a.normed), rows(a.mlp),
             config_.mlp == MlpKind::kGated ? Epilogue::kGated : Epilogue::kActivate,
             vectors_.get(VectorRole::kMlpUpBias, run.layer));
      break;

    case MatrixRole::kMlpDown:
      linear(run, rows(a.mlp), rows(a.hidden), Epilogue::kAdd,
             vectors_.get(VectorRole::kMlpDownBias, run.layer));
      if (end == a.hidden.cols)
        leave_block(VectorRole::kMlpNormWeight, VectorRole::kMlpNormBias, run.layer);
      break;

    case MatrixRole::kProjectOut:
      if (first) gather_last();
      linear(run, scored_rows(a.normed), scored_rows(a.embedded_compute), Epilogue::kStore,
             nullptr);
      linear(run, logit_rows(a.last_hidden), logit_rows(a.projected), Epilogue::kStore, nullptr);
      break;

    case MatrixRole::kHead: {
      const bool projected = a.projected.cols > 0;
      if (first && !projected) gather_last();
      score(run);
      linear(run, logit_rows(projected ? a.projected : a.last_hidden), logit_rows(a.logits),
             Epilogue::kStore, vectors_.get(VectorRole::kHeadBias));
      break;
    }
  }
}

void Forward::normalise(VectorRole weight, VectorRole bias, int32_t layer, TensorView target) {
  kernels_.norm({config_.norm, rows(activations_.hidden), vectors_.get(weight, layer),
                 vectors_.get(bias, layer), config_.norm_epsilon, nullptr, target},
                stream_);
}

// The residual stream becomes the input of a block's first product.
void Forward::enter_block(VectorRole weight, VectorRole bias, int32_t layer) {
  if (config_.norm_place == NormPlace::kPre)
    normalise(weight, bias, layer, rows(activations_.normed));
  else
    kernels_.convert({rows(activations_.hidden), rows(activations_.normed)}, stream_);
}

void Forward::leave_block(VectorRole weight, VectorRole bias, int32_t layer) {
  if (config_.norm_place == NormPlace::kPost)
    normalise(weight, bias, layer, rows(activations_.hidden));
}

void Forward::write_kv(int32_t layer, const KvLayerView& kv,
                       std::span<const SequenceSpan> sequences) {
  const Activations& a = activations_;
  WriteKvArgs write;
  write.qkv = rows(a.qkv);
  write.query_norm = vectors_.get(VectorRole::kQueryNorm, layer);
  write.key_norm = vectors_.get(VectorRole::kKeyNorm, layer);
  write.norm_epsilon = config_.norm_epsilon;
  write.rope = config_.rope.kind;
  write.rope_cols = static_cast<int32_t>(config_.rope.inverse_frequencies.size());
  write.rope_cos = pass_.rope_cos;
  write.rope_sin = pass_.rope_sin;
  write.sequences = sequences.data();
  write.num_sequences = static_cast<int32_t>(sequences.size());
  write.kv = kv;
  write.query = rows(a.query);
  kernels_.write_kv(write, stream_);
}

void Forward::attend(int32_t layer, const KvLayerView& kv,
                     std::span<const SequenceSpan> sequences) {
  const Activations& a = activations_;
  AttentionArgs attention;
  attention.query = rows(a.query);
  attention.kv = kv;
  attention.sequences = sequences.data();
  attention.num_sequences = static_cast<int32_t>(sequences.size());
  attention.scale = config_.attention_scale();
  attention.sliding_window = config_.layers[layer].sliding_window;
  attention.target = rows(a.attended);
  kernels_.attention(attention, stream_);
}

// The rows whose logits are wanted, through the final norm.
void Forward::gather_last() {
  if (pass_.num_logit_rows > 0) gather_rows(pass_.logit_rows, logit_rows(activations_.last_hidden));
  if (pass_.scored.count > 0) gather_rows(pass_.scored.rows, scored_rows(activations_.normed));
}

void Forward::gather_rows(const int32_t* indices, TensorView target) {
  const TensorView source = rows(activations_.hidden);
  if (config_.final_norm)
    kernels_.norm({config_.norm, source, vectors_.get(VectorRole::kFinalNormWeight),
                   vectors_.get(VectorRole::kFinalNormBias), config_.norm_epsilon, indices, target},
                  stream_);
  else
    kernels_.convert({source, target, indices}, stream_);
}

// Runs before the logits of logit_rows are computed, and in their place.
void Forward::score(const MatrixRun& run) {
  const Activations& a = activations_;
  const ScoredRows& scored = pass_.scored;
  const TensorView source = scored_rows(a.projected.cols > 0 ? a.embedded_compute : a.normed);
  for (int64_t begin = 0; begin < scored.count; begin += a.logits.rows) {
    const int64_t count = std::min(a.logits.rows, scored.count - begin);
    const TensorView logits = a.logits.row_range(0, count);
    linear(run, source.row_range(begin, count), logits, Epilogue::kStore,
           vectors_.get(VectorRole::kHeadBias));
    kernels_.accumulate_softmax(
        {logits.col_range(run.output_begin, run.outputs), static_cast<int32_t>(run.output_begin),
         scored.targets + begin, scored.states + begin},
        stream_);
  }
}

void Forward::linear(const MatrixRun& run, TensorView source, TensorView target, Epilogue epilogue,
                     const float* bias) {
  const bool gated = epilogue == Epilogue::kGated;
  LinearArgs args;
  args.source = source;
  args.weight = run.weight;
  args.bias = bias == nullptr ? nullptr : bias + run.output_begin * (gated ? 2 : 1);
  args.epilogue = epilogue;
  args.activation =
      gated || epilogue == Epilogue::kActivate ? config_.activation : Activation::kNone;
  args.target = target.col_range(run.output_begin, run.outputs);
  args.int8_activations = pass_.int8_activations && run.weight.group_size != 0;
  if (source.rows > 0) kernels_.linear(args, stream_);
  flops_ += 2.0 * static_cast<double>(source.rows) * static_cast<double>(run.weight.outputs) *
            static_cast<double>(run.weight.inputs);
}

}  // namespace zerostream
