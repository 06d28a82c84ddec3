// The header of a safetensors file.
#pragma once

#include <vector>

#include "model/file_tensor.h"
#include "model/input_file.h"

namespace zerostream {

// Reads and checks the header: its length against the file, every dtype, shape and byte range
// against each other; tensors must fill the file without gaps or overlaps. In the order of the
// file's bytes. Throws CheckpointError naming file and tensor; of a truncated file, the bytes that
// are missing.
std::vector<FileTensor> read_safetensors_header(const InputFile& file);

}  // namespace zerostream
