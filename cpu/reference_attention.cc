#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/reference_ops.h"

namespace zerostream::reference {
namespace {

using Head = std::vector<double>;

Head read_head(const float* source, int64_t head_dim) { return {source, source + head_dim}; }

void normalise(Head& head, const float* weight, double epsilon) {
  double mean_square = 0;
  for (const double x : head) mean_square += x * x / static_cast<double>(head.size());
  for (size_t i = 0; i < head.size(); ++i) head[i] *= weight[i] / std::sqrt(mean_square + epsilon);
}

void rotate(Head& head, const WriteKvArgs& args, int64_t row) {
  if (args.rope == RopeKind::kNone) return;
  const bool half = args.rope == RopeKind::kHalf;
  for (int64_t i = 0; i < args.rope_cols; ++i) {
    const double cosine = args.rope_cos[row * args.rope_cols + i];
    const double sine = args.rope_sin[row * args.rope_cols + i];
    double& first = head[static_cast<size_t>(half ? i : 2 * i)];
    double& second = head[static_cast<size_t>(half ? i + args.rope_cols : 2 * i + 1)];
    const double x = first, y = second;
    first = x * cosine - y * sine;
    second = y * cosine + x * sine;
  }
}

void write_head(const Head& head, void* target, DType dtype, int64_t offset) {
  for (size_t i = 0; i < head.size(); ++i)
    store_float(target, dtype, offset + static_cast<int64_t>(i), static_cast<float>(head[i]));
}

// Writes a head of keys or values; int8 with its scale, zeros of scale NaN for what is not finite.
void write_kv_head(const Head& head, std::byte* target, float* scales, const KvLayerView& kv,
                   int64_t slot) {
  if (kv.dtype != DType::kI8) return write_head(head, target, kv.dtype, slot * kv.head_dim);
  double largest = 0;
  for (const double x : head)
    largest = std::isfinite(x) ? std::max(largest, std::abs(x)) : std::nan("");
  const float scale = static_cast<float>(largest) / 127;
  auto* cells = reinterpret_cast<int8_t*>(target) + slot * kv.head_dim;
  for (size_t i = 0; i < head.size(); ++i)
    cells[i] = scale > 0
                   ? static_cast<int8_t>(std::clamp(std::nearbyint(head[i] / scale), -127.0, 127.0))
                   : int8_t{0};
  scales[slot] = scale;
}

// Column `i` of a position's key or value.
double read_kv(const KvLayerView& kv, const std::byte* source, const float* scales, int64_t slot,
               int64_t i) {
  const int64_t cell = slot * kv.head_dim + i;
  if (kv.dtype != DType::kI8) return load_float(source, kv.dtype, cell);
  return double{scales[slot]} * reinterpret_cast<const int8_t*>(source)[cell];
}

void write_row(const WriteKvArgs& args, int64_t row, int64_t block, int64_t slot) {
  const int64_t dim = args.kv.head_dim;
  const int64_t heads = args.query.cols / dim;
  const int64_t kv_heads = args.kv.num_key_value_heads;
  const float* fused = args.qkv.row_as<float>(row);
  for (int64_t h = 0; h < heads; ++h) {
    Head query = read_head(fused + h * dim, dim);
    if (args.query_norm != nullptr) normalise(query, args.query_norm, args.norm_epsilon);
    rotate(query, args, row);
    write_head(query, args.query.row(row), DType::kF32, h * dim);
  }
  for (int64_t h = 0; h < kv_heads; ++h) {
    Head key = read_head(fused + (heads + h) * dim, dim);
    if (args.key_norm != nullptr) normalise(key, args.key_norm, args.norm_epsilon);
    rotate(key, args, row);
    write_kv_head(key, args.kv.key(block, h), args.kv.key_scales(block, h), args.kv, slot);
    write_kv_head(read_head(fused + (heads + kv_heads + h) * dim, dim), args.kv.value(block, h),
                  args.kv.value_scales(block, h), args.kv, slot);
  }
}

// Attention of one query head of one row.
void attend(const AttentionArgs& args, const SequenceSpan& sequence, int64_t row, int64_t head) {
  const KvLayerView& kv = args.kv;
  const int64_t dim = kv.head_dim;
  const int64_t kv_head = head / (args.query.cols / dim / kv.num_key_value_heads);
  const int64_t own = sequence.position_begin + row - sequence.row_begin;
  const int64_t first =
      args.sliding_window > 0 ? std::max<int64_t>(0, own - args.sliding_window + 1) : 0;
  const float* query = args.query.row_as<float>(row) + head * dim;

  std::vector<double> scores;
  for (int64_t position = first; position <= own; ++position) {
    const int64_t block = sequence.block_table[position / kv.block_tokens];
    double dot = 0;
    for (int64_t i = 0; i < dim; ++i)
      dot += query[i] * read_kv(kv, kv.key(block, kv_head), kv.key_scales(block, kv_head),
                                position % kv.block_tokens, i);
    double score = dot * args.scale;
    if (args.alibi_slopes != nullptr)
      score += args.alibi_slopes[head] * static_cast<double>(position - own);
    scores.push_back(score);
  }
  const double largest = *std::max_element(scores.begin(), scores.end());
  double total = 0;
  for (double& score : scores) total += score = std::exp(score - largest);

  Head result(static_cast<size_t>(dim), 0.0);
  for (int64_t position = first; position <= own; ++position) {
    const int64_t block = sequence.block_table[position / kv.block_tokens];
    const double weight = scores[static_cast<size_t>(position - first)] / total;
    for (int64_t i = 0; i < dim; ++i)
      result[static_cast<size_t>(i)] +=
          weight * read_kv(kv, kv.value(block, kv_head), kv.value_scales(block, kv_head),
                           position % kv.block_tokens, i);
  }
  write_head(result, args.target.row(row), args.target.dtype, head * dim);
}

}  // namespace

void write_kv(const WriteKvArgs& args) {
  for (int32_t s = 0; s < args.num_sequences; ++s) {
    const SequenceSpan& sequence = args.sequences[s];
    for (int32_t i = 0; i < sequence.rows; ++i) {
      const int32_t position = sequence.position_begin + i;
      write_row(args, sequence.row_begin + i, sequence.block_table[position / args.kv.block_tokens],
                position % args.kv.block_tokens);
    }
  }
}

void attention(const AttentionArgs& args) {
  const int64_t heads = args.query.cols / args.kv.head_dim;
  for (int32_t s = 0; s < args.num_sequences; ++s)
    for (int32_t i = 0; i < args.sequences[s].rows; ++i)
      for (int64_t head = 0; head < heads; ++head)
        attend(args, args.sequences[s], args.sequences[s].row_begin + i, head);
}

}  // namespace zerostream::reference
