// The header of a safetensors file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/input_file.h"

namespace zerostream {

struct SafetensorsTensor {
  std::string name;
  std::string dtype;  // "F32", "BF16", ..., as written
  std::vector<int64_t> shape;
  int64_t offset = 0;  // from the beginning of the file
  int64_t bytes = 0;
};

// Reads and checks the header: its length against the file, every dtype, shape and byte range
// against each other; tensors must fill the file without gaps or overlaps. In the order of the
// file's bytes. Throws CheckpointError naming file and tensor; of a truncated file, the bytes that
// are missing.
std::vector<SafetensorsTensor> read_safetensors_header(const InputFile& file);

}  // namespace zerostream
