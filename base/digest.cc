#include "base/digest.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace zerostream {

uint64_t digest_of(const void* data, size_t bytes) { return XXH3_64bits(data, bytes); }

struct Digest::State {
  XXH3_state_t xxh;
};

Digest::Digest() : state_(std::make_unique<State>()) { XXH3_64bits_reset(&state_->xxh); }
Digest::Digest(Digest&&) noexcept = default;
Digest& Digest::operator=(Digest&&) noexcept = default;
Digest::~Digest() = default;

void Digest::update(const void* data, size_t bytes) {
  XXH3_64bits_update(&state_->xxh, data, bytes);
}

uint64_t Digest::value() const { return XXH3_64bits_digest(&state_->xxh); }

std::string digest_to_hex(uint64_t digest) {
  std::string text(16, '0');
  for (size_t i = 16; i-- > 0; digest >>= 4) text[i] = "0123456789abcdef"[digest & 15];
  return text;
}

std::optional<uint64_t> digest_from_hex(std::string_view text) {
  if (text.size() != 16) return std::nullopt;
  uint64_t digest = 0;
  for (const char c : text) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit && !(c >= 'a' && c <= 'f')) return std::nullopt;
    digest = digest << 4 | static_cast<uint64_t>(digit ? c - '0' : c - 'a' + 10);
  }
  return digest;
}

}  // namespace zerostream
