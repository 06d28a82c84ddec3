#include "offload/device_arrays.h"

#include <cstring>

#include "base/require.h"

namespace zerostream {
namespace {

int64_t table_size(const SequenceSpan& sequence, int32_t block_tokens) {
  return ceil_div(sequence.position_begin + sequence.rows, block_tokens);
}

}  // namespace

DeviceArrays::DeviceArrays(Device& device, int64_t bytes)
    : device_(device), shared_(device.shares_host_memory()) {
  begin(bytes);
}

int64_t DeviceArrays::pass_bytes(const ModelConfig& config, int64_t max_tokens,
                                 int64_t max_sequences, int64_t longest_row, int32_t block_tokens) {
  const auto rope = static_cast<int64_t>(2 * config.rope.inverse_frequencies.size());
  const int64_t token = rope * int64_t{sizeof(float)} + 2 * int64_t{sizeof(int64_t)} +
                        2 * int64_t{sizeof(int32_t)} + int64_t{sizeof(SoftmaxState)};
  const int64_t arrays_of_row = 2;  // its tokens, its banned tokens
  const int64_t row = int64_t{sizeof(SampleRow)} + int64_t{sizeof(SampleResult)} +
                      arrays_of_row * kAlignment + longest_row * int64_t{sizeof(int32_t)};
  const int64_t arrays = 16;
  return max_tokens * token + max_sequences * row + arrays * kAlignment +
         sequence_bytes(max_sequences, longest_row, block_tokens);
}

int64_t DeviceArrays::sequence_bytes(int64_t max_sequences, int64_t longest_row,
                                     int32_t block_tokens) {
  const int64_t table = ceil_div(longest_row, block_tokens) * int64_t{sizeof(int32_t)};
  return padded(max_sequences * int64_t{sizeof(SequenceSpan)}) + max_sequences * padded(table);
}

void DeviceArrays::begin(int64_t bytes) {
  used_ = uploaded_ = 0;
  downloads_.clear();
  if (shared_ || bytes <= memory_.size()) return;
  pinned_ = Buffer();
  memory_ = Buffer();
  pinned_ = device_.allocate_pinned(round_up(bytes, kTileBytes));
  memory_ = device_.allocate(round_up(bytes, kTileBytes));
}

void* DeviceArrays::place(void* values, int64_t bytes) {
  if (shared_) return values;
  require(used_ + bytes <= memory_.size(), "the arrays of a pass fit their memory");
  std::byte* placed = memory_.data() + used_;
  if (bytes > 0) std::memcpy(pinned_.data() + used_, values, static_cast<size_t>(bytes));
  used_ += padded(bytes);
  return placed;
}

int64_t DeviceArrays::sequence_bytes(std::span<const SequenceSpan> sequences,
                                     int32_t block_tokens) {
  int64_t bytes = padded(sequences);
  for (const SequenceSpan& sequence : sequences)
    bytes += padded(table_size(sequence, block_tokens) * int64_t{sizeof(int32_t)});
  return bytes;
}

std::span<const SequenceSpan> DeviceArrays::put(std::span<const SequenceSpan> sequences,
                                                int32_t block_tokens) {
  if (shared_) return sequences;
  spans_.assign(sequences.begin(), sequences.end());
  for (SequenceSpan& span : spans_)
    span.block_table = put(std::span(span.block_table, table_size(span, block_tokens)));
  return {put(std::span(spans_)), sequences.size()};
}

void DeviceArrays::upload(Stream& stream) {
  if (used_ == uploaded_) return;
  stream.copy(memory_.data() + uploaded_, pinned_.data() + uploaded_, used_ - uploaded_);
  uploaded_ = used_;
}

void DeviceArrays::download(const std::byte* place, std::byte* target, int64_t bytes,
                            Stream& stream) {
  if (shared_ || bytes == 0) return;
  const int64_t offset = place - memory_.data();
  downloads_.push_back({offset, target, bytes});
  stream.copy(pinned_.data() + offset, place, bytes);
}

void DeviceArrays::finish() {
  for (const Download& done : downloads_)
    std::memcpy(done.target, pinned_.data() + done.offset, static_cast<size_t>(done.bytes));
  downloads_.clear();
}

}  // namespace zerostream
