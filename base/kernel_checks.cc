#include "base/kernel_checks.h"

#include "base/require.h"

namespace zerostream {
namespace {

void check_view(const TensorView& view, std::string_view promise) {
  require(is_float(view.dtype) && view.rows >= 0 && view.cols > 0 &&
              (view.rows == 0 || view.data != nullptr) &&
              (view.rows <= 1 || view.row_stride >= view.cols),
          promise);
}

void check_quantised(const LinearArgs& args) {
  const PackedWeight& weight = args.weight;
  require(weight.layout == WeightLayout::kTile64, "a quantised weight is tiled");
  require(weight.group_size == 32 || weight.group_size == 64 || weight.group_size == 128,
          "groups of a quantised weight have 32, 64 or 128 inputs");
  require(args.source.rows <= 1 ||
              args.source.row_stride >= round_up(weight.inputs, tile_inputs(DType::kI4)),
          "the source of a quantised weight has rows of whole 128 inputs");
}

void check_weight(const LinearArgs& args) {
  require(args.weight.data != nullptr && args.source.cols == args.weight.inputs,
          "linear's source has the weight's inputs");
  if (is_quantised(args.weight.dtype)) return check_quantised(args);
  require(is_float(args.weight.dtype) && args.source.dtype == args.weight.dtype,
          "linear's source has the weight's dtype");
  require(args.weight.group_size == 0 && !args.weight.has_zeros,
          "only quantised weights have groups");
  require(!args.int8_activations, "int8 activations are for quantised weights");
}

void check_kv(const KvLayerView& kv) {
  require(kv.base != nullptr && (is_float(kv.dtype) || kv.dtype == DType::kI8),
          "KV blocks are fp32, fp16, bf16 or int8");
  require(kv.num_key_value_heads > 0 && kv.head_dim > 0 && kv.block_tokens > 0,
          "a KV block has heads, columns and positions");
  require(kv.block_bytes >= KvLayerView::content_bytes(kv.dtype, kv.block_tokens,
                                                       kv.num_key_value_heads, kv.head_dim),
          "a KV block holds the keys and values of its positions");
  require(kv.dtype != DType::kI8 ||
              (2 * kv.num_key_value_heads * kv.head_bytes() % 4 == 0 && kv.block_bytes % 4 == 0),
          "the scales of int8 KV blocks are aligned");
}

}  // namespace

void check_args(const EmbedArgs& args) {
  check_view(args.target, "embed has a target");
  require(args.target.dtype == DType::kF32, "embed writes fp32");
  require(is_float(args.dtype), "an embedding table is fp32, fp16 or bf16");
  require(args.target.rows == 0 || (args.table != nullptr && args.byte_offsets != nullptr),
          "embed has a table and an offset for each row");
}

void check_args(const NormArgs& args) {
  check_view(args.source, "norm has a source");
  check_view(args.target, "norm has a target");
  require(args.source.dtype == DType::kF32, "norm reads fp32");
  require(args.source.cols == args.target.cols, "norm keeps the columns");
  require(args.row_indices != nullptr || args.source.rows == args.target.rows,
          "norm without row indices keeps the rows");
  require(args.row_indices == nullptr || args.source.data != args.target.data,
          "norm with row indices is not in place");
}

void check_args(const ConvertArgs& args) {
  check_view(args.source, "convert has a source");
  check_view(args.target, "convert has a target");
  require(args.source.cols == args.target.cols, "convert keeps the columns");
  require(args.row_indices != nullptr || args.source.rows == args.target.rows,
          "convert without row indices keeps the rows");
}

void check_args(const LinearArgs& args) {
  check_view(args.source, "linear has a source");
  check_view(args.target, "linear has a target");
  require(args.source.rows == args.target.rows, "linear keeps the rows");
  check_weight(args);
  const int64_t outputs = args.epilogue == Epilogue::kGated
                              ? 2 * round_up(args.target.cols, kPanelOutputs)
                              : args.target.cols;
  require(args.weight.outputs == outputs, "linear's target has the weight's outputs");
  require(args.epilogue != Epilogue::kAdd || args.target.dtype == DType::kF32,
          "linear adds to fp32");
}

void check_args(const WriteKvArgs& args) {
  check_view(args.qkv, "write_kv has a source");
  check_view(args.query, "write_kv has a query to write");
  check_kv(args.kv);
  require(args.qkv.dtype == DType::kF32 && args.query.dtype == DType::kF32,
          "write_kv reads and writes fp32 rows");
  const int64_t kv_cols = int64_t{args.kv.num_key_value_heads} * args.kv.head_dim;
  require(args.qkv.cols == args.query.cols + 2 * kv_cols && args.query.cols % kv_cols == 0,
          "a fused row is query heads, key heads, value heads");
  require(args.qkv.rows == args.query.rows, "write_kv keeps the rows");
  require(args.num_sequences == 0 || args.sequences != nullptr, "write_kv has its sequences");
  if (args.rope == RopeKind::kNone) return;
  require(args.rope_cols >= 0 && 2 * args.rope_cols <= args.kv.head_dim,
          "rope rotates within a head");
  require(args.rope_cols == 0 || (args.rope_cos != nullptr && args.rope_sin != nullptr),
          "rope has its tables");
}

void check_args(const AttentionArgs& args) {
  check_view(args.query, "attention has a query");
  check_view(args.target, "attention has a target");
  check_kv(args.kv);
  require(args.query.dtype == DType::kF32, "attention reads fp32 queries");
  require(args.query.rows == args.target.rows && args.query.cols == args.target.cols,
          "attention keeps the shape of the query");
  require(args.query.cols % (int64_t{args.kv.num_key_value_heads} * args.kv.head_dim) == 0,
          "query heads are a multiple of KV heads");
  require(args.sliding_window >= 0, "a sliding window is not negative");
  require(args.num_sequences == 0 || args.sequences != nullptr, "attention has its sequences");
}

void check_args(const SampleArgs& args) {
  check_view(args.logits, "sample has logits");
  require(args.logits.dtype == DType::kF32, "sample reads fp32 logits");
  require(args.logits.rows == 0 || (args.rows != nullptr && args.results != nullptr),
          "sample has rows and results");
}

void check_args(const AccumulateSoftmaxArgs& args) {
  check_view(args.logits, "accumulate_softmax has logits");
  require(args.logits.dtype == DType::kF32, "accumulate_softmax reads fp32 logits");
  require(args.vocabulary_begin >= 0, "parts of the vocabulary begin at a token");
  require(args.logits.rows == 0 || (args.targets != nullptr && args.states != nullptr),
          "accumulate_softmax has targets and states");
}

}  // namespace zerostream
