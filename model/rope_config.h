// What config.json says about rotary positions.
#pragma once

#include "model/config.h"
#include "model/config_fields.h"

namespace zerostream {

// Reads `rope_parameters`, or `rope_theta` beside `rope_scaling`, and computes the frequencies in
// fp32 step by step as transformers does. Types default, linear, llama3 and yarn, and of our own
// `divisors`: a list of what each frequency is divided by, as GGUF files have it. Others are
// refused by name. head_dim must be set.
RopeConfig read_rope_config(const ConfigFields& fields, const ModelConfig& config);

}  // namespace zerostream
