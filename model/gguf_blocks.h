// The blocks of numbers that quantised tensors of GGUF files are made of.
#pragma once

#include <cstddef>

namespace zerostream {

// Each writes the fp32 values of one block, as ggml computes them: every product and difference is
// rounded on its own. `block` needs no alignment.

// Blocks of 32 elements.
void decode_q4_0(const std::byte* block, float* target);
void decode_q4_1(const std::byte* block, float* target);
void decode_q5_0(const std::byte* block, float* target);
void decode_q5_1(const std::byte* block, float* target);
void decode_q8_0(const std::byte* block, float* target);
void decode_q8_1(const std::byte* block, float* target);
void decode_iq4_nl(const std::byte* block, float* target);

// Blocks of 256 elements.
void decode_q2_k(const std::byte* block, float* target);
void decode_q3_k(const std::byte* block, float* target);
void decode_q4_k(const std::byte* block, float* target);
void decode_q5_k(const std::byte* block, float* target);
void decode_q6_k(const std::byte* block, float* target);
void decode_q8_k(const std::byte* block, float* target);
void decode_iq4_xs(const std::byte* block, float* target);

}  // namespace zerostream
