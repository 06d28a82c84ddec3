#include "model/gguf.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <set>
#include <utility>

#include "base/tensor.h"
#include "model/tensor_shape.h"
#include "model/utf8.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

enum class ValueType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};
// Least bytes of a value in the file, by type.
constexpr std::array<int64_t, 13> kLeastBytes = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};

constexpr uint32_t kMaxDimensions = 4;
constexpr int kMaxArrayDepth = 4;
constexpr int64_t kDefaultAlignment = 32;
constexpr int64_t kLeastKeyValueBytes = 8 + 4 + 1;
constexpr int64_t kLeastTensorBytes = 8 + 4 + 4 + 8;

// Reads the file front to back through a window; every length is checked against what is left.
class Cursor {
 public:
  explicit Cursor(const InputFile& file) : file_(file) {}

  const std::string& path() const { return file_.path(); }
  int64_t position() const { return position_; }
  int64_t left() const { return file_.size() - position_; }

  [[noreturn]] void fail(const std::string& what) const {
    throw CheckpointError(path() + ": " + what + " at byte " + std::to_string(position_));
  }

  template <typename T>
  T scalar(const std::string& of) {
    T value;
    take(&value, sizeof value, of);
    return value;
  }

  // A count of things that take at least `least` bytes each.
  int64_t count(int64_t least, const std::string& of) {
    const auto value = scalar<uint64_t>(of);
    if (value > static_cast<uint64_t>(left() / least))
      fail(of + ": " + std::to_string(value) + " entries or bytes do not fit the " +
           std::to_string(left()) + " bytes that are left");
    return static_cast<int64_t>(value);
  }

  std::string text(const std::string& of) {
    std::string result(static_cast<size_t>(count(1, of)), '\0');
    take(result.data(), std::ssize(result), of);
    if (find_invalid_utf8(result) != std::string_view::npos) fail(of + ": invalid UTF-8");
    return result;
  }

 private:
  static constexpr int64_t kWindowBytes = int64_t{1} << 18;

  void take(void* target, int64_t bytes, const std::string& of) {
    if (bytes > left()) fail(of + ": the file is truncated");
    auto* next = static_cast<char*>(target);
    while (bytes > 0) {
      if (position_ == window_begin_ + std::ssize(window_)) refill();
      const int64_t at = position_ - window_begin_;
      const int64_t part = std::min(bytes, std::ssize(window_) - at);
      std::memcpy(next, window_.data() + at, static_cast<size_t>(part));
      next += part;
      position_ += part;
      bytes -= part;
    }
  }

  void refill() {
    window_begin_ = position_;
    window_ = file_.read_text(position_, std::min(kWindowBytes, left()));
  }

  const InputFile& file_;
  int64_t position_ = 0;
  int64_t window_begin_ = 0;
  std::string window_;
};

Json read_value(Cursor& cursor, ValueType type, const std::string& key, int depth);

ValueType read_type(Cursor& cursor, const std::string& key) {
  const auto number = cursor.scalar<uint32_t>(key);
  if (number >= kLeastBytes.size())
    cursor.fail("key " + key + ": unknown value type " + std::to_string(number));
  return static_cast<ValueType>(number);
}

Json read_array(Cursor& cursor, const std::string& key, int depth) {
  if (depth >= kMaxArrayDepth) cursor.fail("key " + key + ": arrays nested too deep");
  const ValueType type = read_type(cursor, key);
  const int64_t count = cursor.count(kLeastBytes[static_cast<size_t>(type)], "key " + key);
  Json array = Json::array();
  for (int64_t i = 0; i < count; ++i) array.push_back(read_value(cursor, type, key, depth + 1));
  return array;
}

Json read_value(Cursor& cursor, ValueType type, const std::string& key, int depth) {
  switch (type) {
    case ValueType::kU8:
      return cursor.scalar<uint8_t>(key);
    case ValueType::kI8:
      return cursor.scalar<int8_t>(key);
    case ValueType::kU16:
      return cursor.scalar<uint16_t>(key);
    case ValueType::kI16:
      return cursor.scalar<int16_t>(key);
    case ValueType::kU32:
      return cursor.scalar<uint32_t>(key);
    case ValueType::kI32:
      return cursor.scalar<int32_t>(key);
    case ValueType::kF32:
      return cursor.scalar<float>(key);
    case ValueType::kBool:
      return cursor.scalar<uint8_t>(key) != 0;
    case ValueType::kString:
      return cursor.text("key " + key);
    case ValueType::kArray:
      return read_array(cursor, key, depth);
    case ValueType::kU64:
      return cursor.scalar<uint64_t>(key);
    case ValueType::kI64:
      return cursor.scalar<int64_t>(key);
    case ValueType::kF64:
      return cursor.scalar<double>(key);
  }
  cursor.fail("key " + key + ": unknown value type");
}

Json read_metadata(Cursor& cursor, int64_t count) {
  Json metadata = Json::object();
  for (int64_t i = 0; i < count; ++i) {
    const std::string key = cursor.text("metadata key " + std::to_string(i));
    if (metadata.contains(key)) cursor.fail("key " + key + " appears twice");
    const ValueType type = read_type(cursor, key);
    metadata[key] = read_value(cursor, type, key, 0);
  }
  return metadata;
}

GgufTensor read_tensor(Cursor& cursor, int64_t index) {
  GgufTensor tensor;
  tensor.name = cursor.text("name of tensor " + std::to_string(index));
  const std::string of = "tensor " + tensor.name;
  const auto dimensions = cursor.scalar<uint32_t>(of);
  if (dimensions > kMaxDimensions)
    cursor.fail(of + ": " + std::to_string(dimensions) + " dimensions");
  for (uint32_t i = 0; i < dimensions; ++i) {
    const auto size = cursor.scalar<uint64_t>(of);
    if (size > INT64_MAX) cursor.fail(of + ": dimension of " + std::to_string(size));
    tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(size));
  }
  if (!element_count(tensor.shape)) cursor.fail(of + ": shape " + shape_text(tensor.shape));
  tensor.type = cursor.scalar<uint32_t>(of);
  const auto offset = cursor.scalar<uint64_t>(of);
  if (offset > INT64_MAX / 2) cursor.fail(of + ": offset of " + std::to_string(offset));
  tensor.offset = static_cast<int64_t>(offset);
  return tensor;
}

int64_t read_alignment(const Cursor& cursor, const Json& metadata) {
  const auto found = metadata.find("general.alignment");
  if (found == metadata.end()) return kDefaultAlignment;
  const bool valid = found->is_number_unsigned() && *found > 0u && *found <= 1u << 30 &&
                     found->get<uint64_t>() % 8 == 0;
  if (!valid) cursor.fail("key general.alignment is " + found->dump());
  return found->get<int64_t>();
}

// Offsets count from the aligned end of the header.
void place_tensors(const Cursor& cursor, GgufHeader& header) {
  const int64_t alignment = read_alignment(cursor, header.metadata);
  const int64_t data_begin = round_up(cursor.position(), alignment);
  std::set<std::string> names;
  for (GgufTensor& tensor : header.tensors) {
    if (!names.insert(tensor.name).second) cursor.fail("tensor " + tensor.name + " appears twice");
    if (tensor.offset % alignment != 0)
      cursor.fail("tensor " + tensor.name + ": its offset is no multiple of " +
                  std::to_string(alignment));
    tensor.offset += data_begin;
  }
}

}  // namespace

GgufHeader read_gguf_header(const InputFile& file) {
  refuse_git_lfs(file);
  Cursor cursor(file);
  std::string magic(4, '\0');
  for (char& letter : magic) letter = cursor.left() > 0 ? cursor.scalar<char>("magic") : '\0';
  if (magic != "GGUF") throw CheckpointError(file.path() + " is not a GGUF file");
  GgufHeader header;
  header.version = cursor.scalar<uint32_t>("version");
  if (header.version != 2 && header.version != 3)
    cursor.fail("GGUF version " + std::to_string(header.version) +
                " is not supported (2 and 3 are)");
  const int64_t tensors = cursor.count(kLeastTensorBytes, "number of tensors");
  const int64_t keys = cursor.count(kLeastKeyValueBytes, "number of metadata keys");
  header.metadata = read_metadata(cursor, keys);
  for (int64_t i = 0; i < tensors; ++i) header.tensors.push_back(read_tensor(cursor, i));
  place_tensors(cursor, header);
  return header;
}

GgufHeader read_gguf_header(const std::string& path) { return read_gguf_header(InputFile(path)); }

}  // namespace zerostream
