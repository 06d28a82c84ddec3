// The scales of checkpoints whose weights are stored as fp8.
#pragma once

#include <string>
#include <vector>

#include "model/checkpoint.h"

namespace zerostream {

// Where the config's quantization_config says that weights are fp8 with factors beside them
// (quant_method "fp8": one for each block of weight_block_size or one for all; "compressed-tensors"
// of format "float-quantized": one for all or one for each row), gives every fp8 matrix among
// `tensors` its factors (NAME_scale_inv or NAME_scale), takes those out of the list with the
// factors of activations (which stay unquantised here), and the entry out of the config. Leaves
// everything as it is where there is no such entry or another method. Throws one CheckpointError
// that lists every matrix whose factors are missing or do not fit.
void attach_fp8_scales(Json& config, std::vector<CheckpointTensor>& tensors,
                       const std::string& source);

}  // namespace zerostream
