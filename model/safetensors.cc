#include "model/safetensors.h"

#include <algorithm>
#include <utility>

#include "model/json.h"
#include "model/tensor_shape.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int64_t kLengthBytes = 8;
constexpr int64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit

int64_t header_bytes_of(const InputFile& file) {
  refuse_git_lfs(file);
  if (file.size() < kLengthBytes)
    throw CheckpointError(file.path() + ": too short for a safetensors file, " +
                          std::to_string(file.size()) + " bytes");
  uint64_t length = 0;
  file.read(0, &length, sizeof length);
  if (length > kMaxHeaderBytes)
    throw CheckpointError(file.path() + ": not a safetensors file, or damaged: a header of " +
                          std::to_string(length) + " bytes");
  const auto bytes = static_cast<int64_t>(length);
  if (bytes > file.size() - kLengthBytes)
    throw CheckpointError(file.path() + ": truncated inside its header: " +
                          std::to_string(bytes + kLengthBytes - file.size()) +
                          " bytes are missing of it");
  return bytes;
}

// Turns one entry of the header into a tensor.
class EntryReader {
 public:
  EntryReader(const std::string& path, int64_t data_begin) : path_(path), data_begin_(data_begin) {}

  FileTensor read(const std::string& name, const Json& entry) const {
    if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string())
      fail(name, "its entry has no dtype");
    FileTensor tensor = {.name = name, .dtype = entry["dtype"].get<std::string>()};
    if (!entry.contains("shape")) fail(name, "its entry has no shape");
    tensor.shape = integers(name, "shape", entry["shape"]);
    if (!entry.contains("data_offsets")) fail(name, "its entry has no data_offsets");
    const std::vector<int64_t> range = integers(name, "data_offsets", entry["data_offsets"]);
    if (range.size() != 2 || range[0] > range[1]) fail(name, "its data_offsets are no range");
    check_bytes(tensor, range[1] - range[0]);
    tensor.offset = data_begin_ + range[0];
    tensor.bytes = range[1] - range[0];
    return tensor;
  }

 private:
  [[noreturn]] void fail(const std::string& name, const std::string& what) const {
    throw CheckpointError(path_ + ": tensor " + name + ": " + what);
  }

  std::vector<int64_t> integers(const std::string& name, const std::string& key,
                                const Json& list) const {
    std::vector<int64_t> result;
    if (!list.is_array()) fail(name, key + " is not a list");
    for (const Json& value : list) {
      if (!value.is_number_unsigned() ||
          value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX - data_begin_))
        fail(name, key + " holds " + value.dump() + ", not a size");
      result.push_back(value.get<int64_t>());
    }
    return result;
  }

  void check_bytes(const FileTensor& tensor, int64_t bytes) const {
    const auto element = file_dtype_bytes(tensor.dtype);
    if (!element) fail(tensor.name, "unknown dtype \"" + tensor.dtype + "\"");
    const auto elements = element_count(tensor.shape);
    if (!elements || *elements > INT64_MAX / *element || *elements * *element != bytes)
      fail(tensor.name, "shape " + shape_text(tensor.shape) + " of " + tensor.dtype +
                            " does not fit the " + std::to_string(bytes) +
                            " bytes that it is given");
  }

  const std::string& path_;
  int64_t data_begin_;
};

void check_layout(const InputFile& file, int64_t data_begin,
                  const std::vector<FileTensor>& tensors) {
  int64_t end = data_begin;
  for (const FileTensor& tensor : tensors) {
    if (tensor.offset != end)
      throw CheckpointError(file.path() + ": tensor " + tensor.name + " begins at byte " +
                            std::to_string(tensor.offset) + ", where " + std::to_string(end) +
                            " is expected: tensors overlap or leave a gap");
    end += tensor.bytes;
    if (end > file.size() || end < tensor.offset)
      throw CheckpointError(
          file.path() + ": truncated: tensor " + tensor.name + " ends at byte " +
          std::to_string(end) + ", the file has " + std::to_string(file.size()) + " bytes (" +
          std::to_string(tensors.back().offset + tensors.back().bytes - file.size()) +
          " are missing)");
  }
  if (end != file.size())
    throw CheckpointError(file.path() + ": " + std::to_string(file.size() - end) +
                          " bytes follow the last tensor");
}

}  // namespace

std::vector<FileTensor> read_safetensors_header(const InputFile& file) {
  const int64_t header_bytes = header_bytes_of(file);
  const int64_t data_begin = kLengthBytes + header_bytes;
  const Json header = parse_json(file.read_text(kLengthBytes, header_bytes), file.path());
  if (!header.is_object()) throw CheckpointError(file.path() + ": its header is no JSON object");

  const EntryReader reader(file.path(), data_begin);
  std::vector<FileTensor> tensors;
  for (const auto& [name, entry] : header.items())
    if (name != "__metadata__") tensors.push_back(reader.read(name, entry));
  std::ranges::sort(
      tensors, {}, [](const FileTensor& tensor) { return std::pair(tensor.offset, tensor.bytes); });
  check_layout(file, data_begin, tensors);
  return tensors;
}

}  // namespace zerostream
