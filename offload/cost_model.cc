#include "offload/cost_model.h"

#include <algorithm>

#include "base/kernels.h"
#include "base/require.h"

namespace zerostream {
namespace {

constexpr int64_t kPageBytes = 4096;
// Rows at which a matrix product stands for what attention over long prompts computes, where the
// profile does not say.
constexpr int64_t kAttentionRows = 64;
constexpr int64_t kAttentionSize = 4096;

// Bytes per second of `ranks` that use a resource at once, each keeping its share of `rate`.
double shared_rate(double rate, const std::vector<double>& sharing, int32_t ranks, double share) {
  if (ranks == 1) return rate;
  const auto index = static_cast<size_t>(ranks - 1);
  if (index < sharing.size()) share = sharing[index];
  return rate * share * ranks;
}

bool of_drawn_rows(MatrixRole role) {
  return role == MatrixRole::kHead || role == MatrixRole::kProjectOut;
}

// Per second, over a prompt.
double attention_flops(const HardwareProfile& profile) {
  const double known = profile.compute.prompt_attention.median;
  if (known > 0) return known;
  const double product = 2.0 * kAttentionRows * kAttentionSize * kAttentionSize;
  return product /
         profile.gemm(DType::kF32, false).seconds(kAttentionRows, kAttentionSize, kAttentionSize);
}

int64_t outputs_computed(const StoredMatrix& matrix) {
  return matrix.gated ? 2 * matrix.outputs : matrix.outputs;
}

}  // namespace

void PassShape::add_row(int64_t computed, int64_t new_tokens, bool draws) {
  ++rows;
  tokens += new_tokens;
  logit_rows += draws ? 1 : 0;
  context_tokens += computed + new_tokens;
  seen_tokens += new_tokens * computed + new_tokens * (new_tokens + 1) / 2;
}

PassShape PassShape::decode(int64_t rows, int64_t context) {
  return {.rows = rows,
          .tokens = rows,
          .logit_rows = rows,
          .context_tokens = rows * context,
          .seen_tokens = rows * context};
}

CostModel::CostModel(const ModelLayout& layout, const HardwareProfile& profile,
                     const CostOptions& options)
    : layout_(layout), profile_(profile), options_(options) {
  const ModelConfig& config = layout.config;
  kv_block_bytes_ =
      round_up(KvLayerView::content_bytes(options.kv_dtype, options.block_tokens,
                                          config.num_key_value_heads, config.head_dim),
               kPageBytes);
  for (size_t dtype = 0; dtype < kDTypes; ++dtype)
    for (size_t layout = 0; layout < kLayouts; ++layout)
      gemm_[dtype][layout] = &profile.gemm(static_cast<DType>(dtype), options.int8_activations,
                                           static_cast<WeightLayout>(layout));
  if (profile.storage) {
    read_rate_ = shared_rate(profile.storage->read.median, profile.storage->sharing, options.ranks,
                             1.0 / options.ranks);
    const double write = profile.storage->write.median;
    write_rate_ = write > 0 ? write : profile.storage->read.median;
  }
  if (profile.link)
    upload_rate_ =
        shared_rate(profile.link->to_device.median, profile.link->sharing, options.ranks, 1.0);
  attention_flops_ = attention_flops(profile);
}

double CostModel::read_seconds(int64_t bytes) const {
  require(read_rate_ > 0, "the profile has storage to read from");
  return static_cast<double>(bytes) / read_rate_;
}

double CostModel::write_seconds(int64_t bytes) const {
  require(write_rate_ > 0, "the profile has storage to write to");
  return static_cast<double>(bytes) / write_rate_;
}

double CostModel::read_latency() const {
  return profile_.storage ? profile_.storage->latency_seconds : 0;
}

double CostModel::upload_seconds(int64_t bytes) const {
  return profile_.link ? static_cast<double>(bytes) / upload_rate_ : 0;
}

double CostModel::download_seconds(int64_t bytes) const {
  return profile_.link ? static_cast<double>(bytes) / profile_.link->from_device.median : 0;
}

double CostModel::upload_delay_seconds(int64_t downloaded_bytes) const {
  if (!profile_.link || profile_.link->both_ways.median == 0) return 0;
  const double alone = profile_.link->to_device.median;
  const double meanwhile = profile_.link->both_ways.median - profile_.link->from_device.median;
  return download_seconds(downloaded_bytes) * (1 - std::clamp(meanwhile / alone, 0.0, 1.0));
}

double CostModel::gather_seconds(int64_t bytes) const {
  if (options_.ranks == 1 || !profile_.peer_link) return 0;
  const double received = static_cast<double>(bytes) * (options_.ranks - 1) / options_.ranks;
  return received / profile_.peer_link->median;
}

double CostModel::embedding_read_seconds(int64_t tokens) const {
  int64_t bytes = 0;
  for (const Segment& segment : layout_.segments) {
    if (!is_embedding(segment)) break;
    const StoredMatrix& table = segment.matrices.front();
    if (table.output_begin == 0)
      bytes += round_up(dtype_bytes(table.dtype, table.inputs), kPageBytes);
  }
  return bytes == 0 ? 0 : read_latency() + read_seconds(tokens * bytes);
}

double CostModel::embed_seconds(const PassShape& pass) const {
  const auto bytes =
      static_cast<double>(dtype_bytes(DType::kF32, pass.tokens * layout_.config.hidden_size));
  return bytes / profile_.compute.memory.read.median + profile_.compute.launch_seconds;
}

int64_t CostModel::product_rows(const StoredMatrix& matrix, const PassShape& pass) const {
  return of_drawn_rows(matrix.role) ? pass.logit_rows : pass.tokens;
}

double CostModel::apply_seconds(const StoredMatrix& matrix, const PassShape& pass) const {
  const int64_t rows = product_rows(matrix, pass);
  if (rows == 0) return 0;
  const GemmRates& rates =
      *gemm_.at(static_cast<size_t>(matrix.dtype)).at(static_cast<size_t>(matrix.layout));
  return rates.seconds(rows, outputs_computed(matrix), matrix.inputs) +
         profile_.compute.launch_seconds;
}

double CostModel::write_kv_seconds(const PassShape& pass) const {
  return static_cast<double>(kv_written_bytes(pass)) / profile_.compute.memory.read.median +
         profile_.compute.launch_seconds;
}

double CostModel::attend_seconds(int32_t layer, const PassShape& pass,
                                 int32_t micro_batches) const {
  const double bytes = static_cast<double>(kv_read_bytes(layer, pass));
  const double flops = 4.0 * static_cast<double>(pass.seen_tokens) * window_share(layer, pass) *
                       static_cast<double>(layout_.config.query_size());
  const double seconds =
      std::max(bytes / profile_.compute.attention.median, flops / attention_flops_);
  return seconds / micro_batches + profile_.compute.launch_seconds;
}

double CostModel::sample_seconds(const PassShape& pass) const {
  const auto bytes =
      static_cast<double>(dtype_bytes(DType::kF32, pass.logit_rows * layout_.config.vocab_size));
  return bytes / profile_.compute.memory.read.median + profile_.compute.launch_seconds;
}

double CostModel::flops(const PassShape& pass) const {
  double flops = 0;
  for (const Segment& segment : layout_.segments)
    for (const StoredMatrix& matrix : segment.matrices)
      if (!is_embedding(segment))
        flops += 2.0 * static_cast<double>(product_rows(matrix, pass)) *
                 static_cast<double>(outputs_computed(matrix) * matrix.inputs);
  return flops;
}

int64_t CostModel::kv_read_bytes(int32_t layer, const PassShape& pass) const {
  const double tokens = static_cast<double>(pass.context_tokens) * window_share(layer, pass);
  const double per_token = static_cast<double>(kv_block_bytes_) / options_.block_tokens;
  return static_cast<int64_t>(tokens * per_token);
}

int64_t CostModel::kv_written_bytes(const PassShape& pass) const {
  return pass.tokens * kv_block_bytes_ / options_.block_tokens;
}

double CostModel::window_share(int32_t layer, const PassShape& pass) const {
  const int32_t window =
      layer >= 0 ? layout_.config.layers[static_cast<size_t>(layer)].sliding_window : 0;
  if (window == 0 || pass.context_tokens <= window * pass.rows) return 1;
  return static_cast<double>(window * pass.rows) / static_cast<double>(pass.context_tokens);
}

}  // namespace zerostream
