// Panels of a matrix, from a source of numbers to the bytes of a store.
#pragma once

#include <cstdint>
#include <vector>

#include "offload/packed_store.h"
#include "offload/weight_source.h"

namespace zerostream {

// Reads, rounds or quantises, and lays out runs of matrices, in either layout, on a few threads;
// the bytes do not depend on how many. Holds a few panels of fp32 per thread, for transposed
// sources as many as one call packs.
//
// Threads: one caller. `weights` must outlive this. Errors: those of the source; CheckpointError
// naming the tensor when a number does not fit the dtype.
class MatrixPacker {
 public:
  MatrixPacker(const WeightSource& weights, int threads);

  // Writes stored panels [panel_begin, panel_end) of a run of `spec` to `target`. Panel p of a run
  // of rows is its rows [64 p, 64 p + 64).
  void pack(const MatrixSpec& spec, const StoredMatrix& run, int64_t panel_begin, int64_t panel_end,
            std::byte* target);

 private:
  struct Scratch {
    std::vector<float> rows;
    std::vector<std::byte> panel;
  };
  void pack_share(const MatrixSpec& spec, const StoredMatrix& run, int64_t panel_begin,
                  int64_t panel_end, std::byte* target, Scratch& scratch) const;

  const WeightSource& weights_;
  std::vector<Scratch> scratch_;  // one per thread
};

// Bytes from one stored panel of a run to the next.
int64_t stored_panel_bytes(const StoredMatrix& run);

}  // namespace zerostream
