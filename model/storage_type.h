// How elements of checkpoints are stored, and what they are worth.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "model/checkpoint.h"

namespace zerostream {

// Elements come in blocks of `elements`, which take `bytes`; 1 element for plain types.
struct StorageBlock {
  int64_t elements;
  int64_t bytes;
};
StorageBlock storage_block(StorageType type);

std::optional<StorageType> storage_type_from_name(std::string_view name);  // "F32", "Q4_1", ...

// Writes the fp32 values of `count` elements, a whole number of blocks. `source` needs no
// alignment.
void decode_elements(StorageType type, const std::byte* source, int64_t count, float* target);

}  // namespace zerostream
