// Making checkpoint files, good and bad, for the tests.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "model/json.h"

namespace zerostream {

template <typename T>
std::string bytes_of(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

template <typename T>
std::string bytes_of_all(const std::vector<T>& values) {
  std::string bytes;
  for (const T value : values) bytes += bytes_of(value);
  return bytes;
}

// A safetensors file with this text for a header.
inline std::string safetensors_file(const std::string& header, const std::string& data) {
  return bytes_of<uint64_t>(header.size()) + header + data;
}
inline std::string safetensors_file(const Json& header, const std::string& data) {
  return safetensors_file(header.dump(), data);
}
inline Json safetensors_entry(const std::string& dtype, const std::vector<int64_t>& shape,
                              int64_t begin, int64_t end) {
  return {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {begin, end}}};
}

// Builds GGUF files piece by piece.
class GgufBuilder {
 public:
  static std::string text(std::string_view value) {
    return bytes_of<uint64_t>(value.size()) + std::string(value);
  }
  GgufBuilder& key(std::string_view name, uint32_t type, const std::string& value) {
    keys_ += text(name) + bytes_of(type) + value;
    ++num_keys_;
    return *this;
  }
  GgufBuilder& number(std::string_view name, uint32_t value) {
    return key(name, 4, bytes_of(value));
  }
  GgufBuilder& real(std::string_view name, float value) { return key(name, 6, bytes_of(value)); }
  GgufBuilder& string(std::string_view name, std::string_view value) {
    return key(name, 8, text(value));
  }
  // `sizes`: fastest first, as the file has them.
  GgufBuilder& tensor(std::string_view name, const std::vector<uint64_t>& sizes, uint32_t type,
                      uint64_t offset) {
    tensors_ += text(name) + bytes_of(static_cast<uint32_t>(sizes.size())) + bytes_of_all(sizes) +
                bytes_of(type) + bytes_of(offset);
    ++num_tensors_;
    return *this;
  }
  std::string header(uint32_t version = 3) const {
    return "GGUF" + bytes_of(version) + bytes_of(num_tensors_) + bytes_of(num_keys_) + keys_ +
           tensors_;
  }
  // The header, padded to the alignment, and the data.
  std::string file(const std::string& data, size_t alignment = 32) const {
    std::string result = header();
    result.resize((result.size() + alignment - 1) / alignment * alignment, '\0');
    return result + data;
  }

 private:
  std::string keys_, tensors_;
  uint64_t num_keys_ = 0;
  uint64_t num_tensors_ = 0;
};

}  // namespace zerostream
