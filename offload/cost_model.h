// How long each part of a pass takes on a machine that is known in numbers.
#pragma once

#include <array>
#include <cstdint>

#include "offload/hardware_profile.h"
#include "offload/model_layout.h"

namespace zerostream {

// The work of one pass, in numbers.
struct PassShape {
  int64_t rows = 0;            // sequences that take part
  int64_t tokens = 0;          // of all rows: rows of the matrix products
  int64_t logit_rows = 0;      // rows that draw a token
  int64_t context_tokens = 0;  // positions whose keys and values are read: each row's, summed
  int64_t seen_tokens = 0;     // positions that each token sees, summed: at least context_tokens

  // Adds a row that computes `new_tokens` after `computed` ones.
  void add_row(int64_t computed, int64_t new_tokens, bool draws);
  // `rows` rows that decode at a context of `context` positions, the new one counted.
  static PassShape decode(int64_t rows, int64_t context);

  friend auto operator<=>(const PassShape&, const PassShape&) = default;
};

struct CostOptions {
  int32_t ranks = 1;  // that fetch a share each, at once
  DType kv_dtype = DType::kF16;
  int32_t block_tokens = 16;
  bool int8_activations = false;
};

// Seconds of a fetch's stages and of a step's arithmetic. Bytes are those of the whole segment;
// with several ranks each moves its share, while the others move theirs. Pure functions of what it
// was made of. `layout` and `profile` must outlive it.
class CostModel {
 public:
  CostModel(const ModelLayout& layout, const HardwareProfile& profile, const CostOptions& options);

  // From storage into host memory. REQUIRES: the profile has storage.
  double read_seconds(int64_t bytes) const;
  double write_seconds(int64_t bytes) const;
  double read_latency() const;
  // To the device and back; 0 where it shares the host's memory.
  double upload_seconds(int64_t bytes) const;
  double download_seconds(int64_t bytes) const;
  // By how much uploads are late when as many bytes go down meanwhile; 0 where the profile does not
  // say what the link gives both ways.
  double upload_delay_seconds(int64_t downloaded_bytes) const;
  // All shares into every rank; 0 for one rank.
  double gather_seconds(int64_t bytes) const;

  // Embedding rows of `tokens` tokens, read one by one from storage.
  double embedding_read_seconds(int64_t tokens) const;
  double embed_seconds(const PassShape& pass) const;
  double apply_seconds(const StoredMatrix& matrix, const PassShape& pass) const;
  double write_kv_seconds(const PassShape& pass) const;
  // Attention of one of `micro_batches` equal parts of the pass.
  double attend_seconds(int32_t layer, const PassShape& pass, int32_t micro_batches) const;
  double sample_seconds(const PassShape& pass) const;

  // Flops of the matrix products of a pass (2 per multiply-add).
  double flops(const PassShape& pass) const;
  // Bytes of keys and values of one block in one layer.
  int64_t kv_block_bytes() const { return kv_block_bytes_; }
  // Bytes of the keys and values of one layer that a pass reads, and that it adds.
  int64_t kv_read_bytes(int32_t layer, const PassShape& pass) const;
  int64_t kv_written_bytes(const PassShape& pass) const;

 private:
  static constexpr size_t kDTypes = 5;  // that weights may have: the first of DType
  static constexpr size_t kLayouts = 2;

  int64_t product_rows(const StoredMatrix& matrix, const PassShape& pass) const;
  // Share of its context that a row of the pass reads in `layer`.
  double window_share(int32_t layer, const PassShape& pass) const;

  const ModelLayout& layout_;
  const HardwareProfile& profile_;
  const CostOptions options_;
  int64_t kv_block_bytes_ = 0;
  // By dtype and layout of the weights.
  std::array<std::array<const GemmRates*, kLayouts>, kDTypes> gemm_ = {};
  double read_rate_ = 0, write_rate_ = 0, upload_rate_ = 0;  // bytes/s of all ranks together
  double attention_flops_ = 0;                               // per second
};

}  // namespace zerostream
