#include "model/torch_file.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "model/pickle.h"
#include "model/tensor_shape.h"
#include "model/zip_archive.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr std::string_view kPickleName = "/data.pkl";
constexpr int64_t kMaxPickleBytes = int64_t{1} << 26;
constexpr size_t kMaxDimensions = 8;
constexpr std::string_view kRebuildTensor = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view kRebuildParameter = "torch._utils._rebuild_parameter";

constexpr std::array<std::pair<std::string_view, std::string_view>, 10> kStorages = {
    {{"torch.FloatStorage", "F32"},
     {"torch.HalfStorage", "F16"},
     {"torch.BFloat16Storage", "BF16"},
     {"torch.DoubleStorage", "F64"},
     {"torch.LongStorage", "I64"},
     {"torch.IntStorage", "I32"},
     {"torch.ShortStorage", "I16"},
     {"torch.CharStorage", "I8"},
     {"torch.ByteStorage", "U8"},
     {"torch.BoolStorage", "BOOL"}}};

using Kind = PickleValue::Kind;

std::vector<std::string_view> allowed_globals() {
  std::vector<std::string_view> names = {"collections.OrderedDict", kRebuildTensor,
                                         kRebuildParameter};
  for (const auto& [name, dtype] : kStorages) names.push_back(name);
  return names;
}

// Whether elements of that shape lie so one behind the other. Strides of single elements mean
// nothing.
bool follows(const std::vector<int64_t>& shape, const std::vector<int64_t>& strides) {
  int64_t expected = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] != 1 && strides[i] != expected) return false;
    expected *= shape[i];
  }
  return true;
}

class TorchFileReader {
 public:
  explicit TorchFileReader(const InputFile& file) : file_(file) {}

  std::vector<FileTensor> read() {
    for (ZipEntry& entry : read_zip_directory(file_)) {
      std::string name = entry.name;
      if (!entries_.emplace(std::move(name), std::move(entry)).second)
        throw CheckpointError(file_.path() + ": zip archive: two entries of one name");
    }
    read_pickle();
    const PickleValue& root = pickle_[pickle_.root];
    if (root.kind != Kind::kDict)
      throw CheckpointError(file_.path() +
                            ": it holds something else than a dictionary of tensors");
    std::unordered_set<std::string_view> names;
    std::vector<FileTensor> tensors;
    for (size_t i = 0; i < root.parts.size(); i += 2) {
      const PickleValue& key = pickle_[root.parts[i]];
      if (key.kind != Kind::kText)
        throw CheckpointError(file_.path() + ": its dictionary has a key that is no text");
      name_ = key.text;
      if (!names.insert(key.text).second) fail("appears twice");
      tensors.push_back(read_tensor(pickle_[root.parts[i + 1]]));
    }
    return tensors;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw CheckpointError(file_.path() + ": tensor " + name_ + ": " + what);
  }

  // The folder in the archive that holds everything is named as its file once was.
  void read_pickle() {
    for (const auto& [name, entry] : entries_)
      if (name.ends_with(kPickleName) && name.find('/') == name.size() - kPickleName.size())
        folder_ = name.substr(0, name.size() - kPickleName.size() + 1);
    if (folder_.empty()) throw CheckpointError(file_.path() + ": there is no data.pkl in it");
    if (const ZipEntry* order = find("byteorder");
        order != nullptr && order->bytes < 16 && text_of(*order) != "little")
      throw CheckpointError(file_.path() + ": its byte order is " + text_of(*order));
    const ZipEntry& entry = *find("data.pkl");
    if (entry.bytes > kMaxPickleBytes)
      throw CheckpointError(file_.path() + ": a data.pkl of " + std::to_string(entry.bytes) +
                            " bytes");
    pickle_ = parse_pickle(text_of(entry), allowed_globals(), file_.path());
  }

  const ZipEntry* find(const std::string& name) const {
    const auto found = entries_.find(folder_ + name);
    return found == entries_.end() ? nullptr : &found->second;
  }
  std::string text_of(const ZipEntry& entry) const {
    return file_.read_text(entry.offset, entry.bytes);
  }

  // The arguments of a call of `function`, null if the value is none.
  const std::vector<uint32_t>* arguments_of(const PickleValue& value,
                                            std::string_view function) const {
    if (value.kind != Kind::kCall || pickle_[value.parts[0]].text != function) return nullptr;
    return &pickle_[value.parts[1]].parts;
  }

  // _rebuild_parameter(tensor, ...) or
  // _rebuild_tensor_v2(storage, offset, shape, strides, ...)
  FileTensor read_tensor(const PickleValue& value) const {
    if (const auto* parameter = arguments_of(value, kRebuildParameter);
        parameter != nullptr && !parameter->empty() &&
        arguments_of(pickle_[parameter->front()], kRebuildParameter) == nullptr)
      return read_tensor(pickle_[parameter->front()]);
    const auto* arguments = arguments_of(value, kRebuildTensor);
    if (arguments == nullptr || arguments->size() < 4) fail("it is not a tensor");
    FileTensor tensor = read_storage(pickle_[(*arguments)[0]]);
    tensor.name = name_;
    tensor.shape = sizes(pickle_[(*arguments)[2]], "shape");
    place(tensor, size_of(pickle_[(*arguments)[1]], "offset"),
          sizes(pickle_[(*arguments)[3]], "strides"));
    return tensor;
  }

  // ("storage", type, entry, device, number of elements): the dtype, and all bytes of the storage.
  FileTensor read_storage(const PickleValue& value) const {
    if (value.kind != Kind::kPersistent) fail("it has no storage");
    const std::vector<uint32_t>& id = pickle_[value.parts[0]].parts;
    if (id.size() < 5 || pickle_[id[0]].text != "storage") fail("its storage has an unknown id");
    const auto* type = std::ranges::find(kStorages, pickle_[id[1]].text,
                                         [](const auto& entry) { return entry.first; });
    if (type == kStorages.end()) fail("its storage has an unknown type");
    const ZipEntry* entry = find("data/" + pickle_[id[2]].text);
    if (entry == nullptr) fail("its storage data/" + pickle_[id[2]].text + " is missing");
    FileTensor tensor = {.dtype = std::string(type->second), .offset = entry->offset};
    const int64_t elements = size_of(pickle_[id[4]], "storage");
    const int64_t element = file_dtype_bytes(tensor.dtype).value_or(1);
    if (elements > entry->bytes / element)
      fail("its storage has " + std::to_string(entry->bytes) + " bytes, too few for " +
           std::to_string(elements) + " elements of " + tensor.dtype);
    tensor.bytes = elements * element;
    return tensor;
  }

  // Narrows the bytes of the storage to those of the tensor.
  void place(FileTensor& tensor, int64_t begin, std::vector<int64_t> strides) const {
    if (strides.size() != tensor.shape.size()) fail("it has more dimensions than strides or fewer");
    const int64_t element = file_dtype_bytes(tensor.dtype).value_or(1);
    const auto count = element_count(tensor.shape);
    const int64_t stored = tensor.bytes / element;
    if (!count || *count > stored || begin > stored - *count)
      fail("shape " + shape_text(tensor.shape) + " from element " + std::to_string(begin) +
           " does not fit its storage of " + std::to_string(stored));
    if (*count > 0 && !follows(tensor.shape, strides)) {
      std::vector<int64_t> columns = tensor.shape;
      std::ranges::reverse(columns);
      std::ranges::reverse(strides);
      tensor.transposed = columns.size() == 2 && follows(columns, strides);
      if (!tensor.transposed)
        fail("it is a view whose elements do not follow each other; save a contiguous copy of it");
    }
    tensor.offset += begin * element;
    tensor.bytes = *count * element;
  }

  int64_t size_of(const PickleValue& value, const std::string& of) const {
    if (value.kind != Kind::kInteger || value.integer < 0) fail("its " + of + " is no size");
    return value.integer;
  }

  std::vector<int64_t> sizes(const PickleValue& value, const std::string& of) const {
    if (value.kind != Kind::kTuple || value.parts.size() > kMaxDimensions)
      fail("its " + of + " is no list of up to " + std::to_string(kMaxDimensions) + " sizes");
    std::vector<int64_t> result;
    for (const uint32_t part : value.parts) result.push_back(size_of(pickle_[part], of));
    return result;
  }

  const InputFile& file_;
  std::unordered_map<std::string, ZipEntry> entries_;
  std::string folder_;  // in the archive, with a slash
  Pickle pickle_;
  std::string name_;  // of the tensor that is read
};

}  // namespace

std::vector<FileTensor> read_torch_file(const InputFile& file) {
  refuse_git_lfs(file);
  const int64_t bytes = std::min<int64_t>(file.size(), std::ssize(kZipMagic));
  if (file.read_text(0, bytes) != kZipMagic)
    throw CheckpointError(
        file.path() +
        " is damaged or in the form that PyTorch wrote before version 1.6, which is not supported; "
        "convert it: python -c \"import torch; f = '" +
        file.path() + "'; torch.save(torch.load(f, weights_only=True), f)\"");
  return TorchFileReader(file).read();
}

}  // namespace zerostream
