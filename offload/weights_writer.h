// Writes the weights of a store.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "offload/segment_layout.h"
#include "offload/weight_source.h"

namespace zerostream {

// Makes the file `path` as `layout` says and fills in the digests of its segments. Space is
// reserved first. Packing and writing overlap; writes are direct where the disk takes them, several
// times faster than through the page cache; the file is on the disk, and out of the page cache,
// when this returns. Holds less than 1 GiB for any model whose panels are smaller than 64 MiB.
//
// `progress` gets bytes written so far and in all, now and then; it may throw to stop. Errors: of
// `weights`, of MatrixPacker, IoError.
void write_weights(const WeightSource& weights, const WeightSpecs& specs, const std::string& path,
                   const std::function<void(int64_t done, int64_t total)>& progress,
                   SegmentLayout& layout);

}  // namespace zerostream
