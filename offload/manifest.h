// manifest.json: what a store holds, to and from JSON. docs/store-format.md has every field.
#pragma once

#include <string>

#include "model/json.h"
#include "model/weights.h"
#include "offload/segment_layout.h"

namespace zerostream {

// Goes up when a reader of the old version could not read the new one.
inline constexpr int64_t kStoreVersion = 2;
// The oldest that this program reads. Version 1 had no quantised weights.
inline constexpr int64_t kOldestStoreVersion = 1;
// Goes up when packing the same checkpoint gives other numbers than before.
inline constexpr int64_t kPackRecipe = 1;

// The part of the manifest that readers need.
struct Manifest {
  std::string fingerprint;
  StoreFormat format;
  SegmentLayout contents;
};

std::string_view layout_name(WeightLayout layout);  // "tile64", "rows"

// Only the fields of `manifest`; a packer adds what it knows of the source.
Json manifest_to_json(const Manifest& manifest);

// Throws CheckpointError naming `source` and the key for a field that is missing, of another type
// or out of range, and for another version.
Manifest manifest_from_json(const Json& json, const std::string& source);

// Throws CheckpointError naming `source` and the segment unless the segments lie one behind the
// other within the file, aligned and not too large, and hold exactly the model's matrices and
// vectors, each matrix complete and in order.
void check_contents(const Manifest& manifest, const WeightSpecs& specs, const std::string& source);

}  // namespace zerostream
