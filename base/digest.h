// Digests of bytes: XXH3-64, for finding damage and for naming content; no defence against forgery.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace zerostream {

uint64_t digest_of(const void* data, size_t bytes);
inline uint64_t digest_of(std::string_view text) { return digest_of(text.data(), text.size()); }

// The digest of bytes that come in pieces; the cuts do not matter.
class Digest {
 public:
  Digest();
  Digest(Digest&&) noexcept;
  Digest& operator=(Digest&&) noexcept;
  ~Digest();
  void update(const void* data, size_t bytes);
  void update(std::string_view text) { update(text.data(), text.size()); }
  uint64_t value() const;  // of all bytes so far

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// 16 lower-case hex digits, most significant first; and back: nullopt for anything else.
std::string digest_to_hex(uint64_t digest);
std::optional<uint64_t> digest_from_hex(std::string_view text);

}  // namespace zerostream
