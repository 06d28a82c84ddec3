// A tensor as the header of a file describes it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace zerostream {

struct FileTensor {
  std::string name = {};
  std::string dtype = {};  // as safetensors spells it: "F32", "BF16", ...
  std::vector<int64_t> shape = {};
  int64_t offset = 0;  // from the beginning of the file
  int64_t bytes = 0;
  bool transposed = false;  // a matrix that the file holds column by column
};

// Bytes of an element; nullopt for a dtype that is not known.
std::optional<int64_t> file_dtype_bytes(std::string_view dtype);

}  // namespace zerostream
