// Items of work that belong to the sequences of a pass.
#pragma once

#include <cstdint>

#include "base/require.h"
#include "cpu/cpu_stream.h"

namespace zerostream {

// Finds the sequence of an item of work, where sequence s has items_of(s) of them. Remembers the
// last one: a worker's items ascend within a call.
struct SequenceCursor {
  int32_t sequence = 0;
  int64_t first_item = 0;

  template <typename ItemsOf>
  int64_t seek(int64_t item, const ItemsOf& items_of) {
    for (int64_t items; item - first_item >= (items = items_of(sequence)); ++sequence)
      first_item += items;
    return item - first_item;
  }
};

// A worker's scratch: the cursor, then what the operation needs.
inline constexpr int64_t kCursorBytes = 64;
inline SequenceCursor& cursor_of(CpuStream& stream, int worker) {
  return *reinterpret_cast<SequenceCursor*>(stream.scratch(worker));
}
inline float* floats_of(CpuStream& stream, int worker) {
  return reinterpret_cast<float*>(stream.scratch(worker) + kCursorBytes);
}
// How many floats a worker has behind the cursor.
inline int64_t scratch_floats(const CpuStream& stream) {
  return (stream.scratch_bytes() - kCursorBytes) / int64_t{sizeof(float)};
}
inline void require_scratch(const CpuStream& stream, int64_t floats) {
  require(floats <= scratch_floats(stream),
          "a worker's scratch holds what heads of this size need");
}

// Runs body(worker, sequence, item of the sequence) for all items of all sequences. For tasks of
// the stream only.
template <typename ItemsOf, typename Body>
void for_sequences(CpuStream& stream, int32_t num_sequences, const ItemsOf& items_of,
                   const Body& body) {
  int64_t items = 0;
  for (int32_t s = 0; s < num_sequences; ++s) items += items_of(s);
  for (int worker = 0; worker < stream.pool().workers(); ++worker) cursor_of(stream, worker) = {};
  stream.pool().parallel_for(items, [&](int worker, int64_t index) {
    SequenceCursor& cursor = cursor_of(stream, worker);
    const int64_t item = cursor.seek(index, items_of);
    body(worker, cursor.sequence, item);
  });
}

}  // namespace zerostream
