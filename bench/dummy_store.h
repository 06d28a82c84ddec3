// Stores of random weights, which benches make once and keep.
#pragma once

#include <string>

#include "offload/pack.h"
#include "offload/packed_store.h"

namespace zerostream {

// Opens `store`; where there is none, packs random weights of the shape of `model`, a folder with a
// config.json, first. Errors: those of pack_store().
PackedStore open_or_pack_dummy(const std::string& model, const std::string& store,
                               PackOptions options);

}  // namespace zerostream
