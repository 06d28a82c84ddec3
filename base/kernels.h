// The operations of a model, one virtual per fused operation.
//
// Every call enqueues on a stream and returns; views and arrays are read when the stream gets there
// and must stay valid until then. Results of one row never depend, not in one bit, on the other
// rows of the call, on how the rows were cut into calls, or on how a weight was cut into runs of
// outputs: sums over inputs and over KV positions have one fixed order per backend. (Only
// KernelLimits::unpack_bytes lets products differ with the number of rows.) Accumulation is fp32.
// Views never overlap unless a member says so.
//
// Arrays (`const int32_t*`, ...) live in memory of the device.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "base/device.h"
#include "base/sampling.h"
#include "base/tensor.h"

namespace zerostream {

enum class NormKind : uint8_t { kLayerNorm, kRmsNorm };
enum class Activation : uint8_t { kNone, kRelu, kGelu, kGeluTanh, kSilu };

// target[i] = table row at byte_offsets[i] (+ target[i] if accumulate). `table` rows are
// `target.cols` elements of `dtype`; target is fp32 [tokens, hidden].
struct EmbedArgs {
  const std::byte* table = nullptr;
  DType dtype = DType::kF32;
  const int64_t* byte_offsets = nullptr;
  bool accumulate = false;
  TensorView target;
};

// target[i] = norm(source[row_indices ? row_indices[i] : i]) * weight (+ bias). source is fp32 and
// may be target itself when row_indices is null. LayerNorm subtracts the mean; both divide by
// sqrt(mean square + epsilon). weight and bias are fp32 [cols]; a null weight is 1, a null bias 0.
// target: fp32, fp16 or bf16.
struct NormArgs {
  NormKind kind = NormKind::kRmsNorm;
  TensorView source;
  const float* weight = nullptr;
  const float* bias = nullptr;
  float epsilon = 1e-5f;
  const int32_t* row_indices = nullptr;
  TensorView target;
};

// What becomes of the sums y = x · Wᵀ + bias.
enum class Epilogue : uint8_t {
  kStore,     // target = y
  kAdd,       // target = target + y; target is fp32
  kActivate,  // target = activation(y)
  kGated,  // W alternates 64 gate outputs and 64 up outputs (both padded to 64 at the end; `bias`
           // alternates and is padded the same way): target = activation(gate) * up, target.cols
           // outputs
};

// source [rows, inputs] of the weight's dtype (fp32, fp16, bf16; any of them where the weight is
// quantised), target [rows, outputs] in fp32, fp16 or bf16. weight.outputs == target.cols, or for
// kGated the padded 2 * round_up(target.cols, 64). source rows are 64-byte aligned and readable,
// zero-filled up to the tile border of `inputs` (of 128 inputs where the weight is quantised).
//
// A quantised weight is multiplied as its numbers scale * (q - zero), which may be rounded to the
// source's dtype. int8_activations: each row of the source is rounded to x = step * i with i in
// -127..127 and step = largest magnitude / 127, and products of integers are added up exactly
// within a group.
struct LinearArgs {
  TensorView source;
  PackedWeight weight;
  const float* bias = nullptr;
  Epilogue epilogue = Epilogue::kStore;
  Activation activation = Activation::kNone;
  TensorView target;
  bool int8_activations = false;  // only for quantised weights
};

// Paged keys and values of one layer. A block holds `block_tokens` positions: first the keys
// [kv_heads][block_tokens] [head_dim], then the values in the same order. Block b begins at base +
// b * block_bytes; a negative b lies before base.
//
// kI8: number = scale * q, q in -127..127, with one fp32 scale for the head_dim numbers of one head
// at one position, the largest magnitude / 127. The scales follow the values: first those of the
// keys, [kv_heads][block_tokens], then those of the values.
struct KvLayerView {
  std::byte* base = nullptr;
  DType dtype = DType::kF32;
  int64_t block_bytes = 0;
  int32_t block_tokens = 16;
  int32_t num_key_value_heads = 0;
  int32_t head_dim = 0;

  int64_t head_bytes() const { return dtype_bytes(dtype, int64_t{block_tokens} * head_dim); }
  std::byte* key(int64_t block, int64_t head) const {
    return base + block * block_bytes + head * head_bytes();
  }
  std::byte* value(int64_t block, int64_t head) const {
    return key(block, num_key_value_heads + head);
  }
  // kI8 only: [block_tokens] scales of a head's keys or values.
  float* key_scales(int64_t block, int64_t head) const {
    return reinterpret_cast<float*>(key(block, 2 * int64_t{num_key_value_heads})) +
           head * block_tokens;
  }
  float* value_scales(int64_t block, int64_t head) const {
    return key_scales(block, num_key_value_heads + head);
  }
  // Bytes that one block needs, without padding.
  static int64_t content_bytes(DType dtype, int32_t block_tokens, int32_t kv_heads,
                               int32_t head_dim) {
    const int64_t vectors = 2 * int64_t{block_tokens} * kv_heads;
    return dtype_bytes(dtype, vectors * head_dim) +
           (dtype == DType::kI8 ? vectors * int64_t{sizeof(float)} : 0);
  }
};

// The rows of one sequence in a pass: `rows` consecutive rows from `row_begin`, at positions
// `position_begin` and on. Its KV block i (positions i * block_tokens and on) is block_table[i].
struct SequenceSpan {
  int32_t row_begin = 0;
  int32_t rows = 0;
  int32_t position_begin = 0;
  const int32_t* block_table = nullptr;
};

enum class RopeKind : uint8_t {
  kNone,
  kHalf,         // element i is rotated with element i + rotary/2 (LLaMA, NeoX)
  kInterleaved,  // element 2i is rotated with element 2i + 1 (GPT-J)
};

// Splits fused rows into q, k, v; normalises q and k per head (RMS) if their weights are given;
// rotates the first 2 * rope_cols elements of every q and k head; writes q to `query` and k, v into
// the KV blocks. qkv: fp32 [tokens, (heads + 2 * kv_heads) * head_dim], columns q heads, then k
// heads, then v heads. rope_cos, rope_sin: [tokens, rope_cols] for the rows' own positions. query:
// fp32 [tokens, heads * head_dim].
struct WriteKvArgs {
  TensorView qkv;
  const float* query_norm = nullptr;  // [head_dim]
  const float* key_norm = nullptr;    // [head_dim]
  float norm_epsilon = 1e-6f;
  RopeKind rope = RopeKind::kNone;
  int32_t rope_cols = 0;
  const float* rope_cos = nullptr;
  const float* rope_sin = nullptr;
  const SequenceSpan* sequences = nullptr;
  int32_t num_sequences = 0;
  KvLayerView kv;
  TensorView query;
};

// Causal attention of every row over positions 0 .. its own (or the last `sliding_window` of them,
// its own counted). query as written by write_kv; target [tokens, heads * head_dim] in fp32, fp16
// or bf16. Query head h reads KV head h / (heads / kv_heads). alibi_slopes: [heads] or null; adds
// slope * (key position - query position) to the score.
struct AttentionArgs {
  TensorView query;
  KvLayerView kv;
  const SequenceSpan* sequences = nullptr;
  int32_t num_sequences = 0;
  float scale = 1.0f;
  int32_t sliding_window = 0;  // 0: all
  const float* alibi_slopes = nullptr;
  TensorView target;
};

// target[i] = source[row_indices ? row_indices[i] : i] in target's dtype. Any of fp32, fp16, bf16
// on both sides.
struct ConvertArgs {
  TensorView source;
  TensorView target;
  const int32_t* row_indices = nullptr;
};

// Picks a token for each row of `logits` (fp32 [rows, vocabulary]), see base/sampling.h. Rows are
// independent.
struct SampleArgs {
  TensorView logits;
  const SampleRow* rows = nullptr;
  SampleResult* results = nullptr;
};

// What is known of a row's softmax after a part of the vocabulary. Plain numbers, so that it may be
// kept between calls. Starts as it is made.
struct SoftmaxState {
  float largest = -std::numeric_limits<float>::infinity();
  float sum = 0;           // of exp(logit - largest)
  float target_logit = 0;  // of the token that is asked for, once it has come
  int32_t best = -1;       // token of the largest logit, the lowest id of equal ones
  bool finite = true;      // false: some logit was NaN or +inf

  // Natural logarithm of the target's probability, once all logits were seen.
  float logprob() const { return target_logit - largest - std::log(sum); }
};

// Takes columns `vocabulary_begin` and on of the logits (fp32 [rows, cols]) into states[i] of each
// row; targets[i]: the row's token, or -1. Called with ascending, adjoining parts of the
// vocabulary.
struct AccumulateSoftmaxArgs {
  TensorView logits;
  int32_t vocabulary_begin = 0;
  const int32_t* targets = nullptr;
  SoftmaxState* states = nullptr;
};

// Implementations: reference (plain loops), CPU, CUDA. They are siblings.
//
// Threads: as the stream's. Errors of arguments (shapes, dtypes) throw InternalError at the call,
// errors of the work come with the stream.
class Kernels {
 public:
  virtual ~Kernels() = default;
  virtual void embed(const EmbedArgs& args, Stream& stream) = 0;
  virtual void norm(const NormArgs& args, Stream& stream) = 0;
  virtual void convert(const ConvertArgs& args, Stream& stream) = 0;
  virtual void linear(const LinearArgs& args, Stream& stream) = 0;
  virtual void write_kv(const WriteKvArgs& args, Stream& stream) = 0;
  virtual void attention(const AttentionArgs& args, Stream& stream) = 0;
  virtual void sample(const SampleArgs& args, Stream& stream) = 0;
  virtual void accumulate_softmax(const AccumulateSoftmaxArgs& args, Stream& stream) = 0;
};

}  // namespace zerostream
