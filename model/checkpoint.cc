#include "model/checkpoint.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <unordered_map>
#include <utility>

#include "base/digest.h"
#include "base/require.h"
#include "model/checkpoint_content.h"
#include "model/storage_type.h"
#include "model/tensor_shape.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int64_t kPieceBytes = int64_t{1} << 20;
constexpr const char* kHead = "lm_head.weight";

// The row of the file that holds row `row` of a tensor whose heads' halves are interleaved.
int64_t permuted_row(int64_t row, int64_t head_rows) {
  const int64_t in_head = row % head_rows;
  const int64_t half = head_rows / 2;
  return row - in_head + 2 * (in_head % half) + in_head / half;
}

// Rows [begin, begin + count) of `cols` elements.
struct Rows {
  int64_t begin = 0;
  int64_t count = 0;
  int64_t cols = 0;
};

void read_from_rows(const InputFile& file, const CheckpointTensor& tensor, const Rows& rows,
                    float* target) {
  const int64_t all_rows = tensor.shape.empty() ? 1 : tensor.shape[0];
  const int64_t row_bytes = tensor.bytes / all_rows;
  const bool permuted = tensor.permuted_heads > 0;
  const int64_t piece_rows =
      permuted ? 1
               : std::clamp<int64_t>(kPieceBytes / std::max<int64_t>(row_bytes, 1), 1, rows.count);
  std::vector<std::byte> piece(static_cast<size_t>(piece_rows * row_bytes));
  for (int64_t row = 0; row < rows.count; row += piece_rows) {
    const int64_t count = std::min(piece_rows, rows.count - row);
    const int64_t file_row = permuted
                                 ? permuted_row(rows.begin + row, all_rows / tensor.permuted_heads)
                                 : rows.begin + row;
    file.read(tensor.offset + file_row * row_bytes, piece.data(), count * row_bytes);
    decode_elements(tensor.type, piece.data(), count * rows.cols, target + row * rows.cols);
  }
}

// Of a plain type: every column of the file holds the wanted elements one behind the other.
void read_from_columns(const InputFile& file, const CheckpointTensor& tensor, const Rows& rows,
                       float* target) {
  const int64_t element = storage_block(tensor.type).bytes;
  const int64_t piece_rows = std::min(rows.count, kPieceBytes / element);
  std::vector<std::byte> piece(static_cast<size_t>(piece_rows * element));
  std::vector<float> values(static_cast<size_t>(piece_rows));
  for (int64_t row = 0; row < rows.count; row += piece_rows) {
    const int64_t count = std::min(piece_rows, rows.count - row);
    for (int64_t col = 0; col < rows.cols; ++col) {
      const int64_t first = col * tensor.shape[0] + rows.begin + row;
      file.read(tensor.offset + first * element, piece.data(), count * element);
      decode_elements(tensor.type, piece.data(), count, values.data());
      for (int64_t i = 0; i < count; ++i)
        target[(row + i) * rows.cols + col] = values[static_cast<size_t>(i)];
    }
  }
}

void multiply_by_scales(const Checkpoint& checkpoint, const BlockScales& scales, const Rows& rows,
                        float* target) {
  const std::vector<int64_t>& shape = scales.factors.shape;
  const int64_t factor_rows = shape.empty() ? 1 : shape[0];
  const int64_t factor_cols = element_count(shape).value_or(0) / std::max<int64_t>(factor_rows, 1);
  std::vector<float> factors(static_cast<size_t>(factor_cols));
  int64_t held = -1;
  for (int64_t row = 0; row < rows.count; ++row) {
    const int64_t factor_row = (rows.begin + row) / scales.rows;
    if (factor_row != held) checkpoint.read_rows(scales.factors, factor_row, 1, factors.data());
    held = factor_row;
    float* values = target + row * rows.cols;
    for (int64_t col = 0; col < rows.cols; ++col)
      values[col] *= factors[static_cast<size_t>(col / scales.cols)];
  }
}

std::optional<DType> dtype_of_config(const Json& config) {
  constexpr std::array<std::pair<std::string_view, DType>, 3> kNames = {
      {{"float32", DType::kF32}, {"float16", DType::kF16}, {"bfloat16", DType::kBF16}}};
  for (const char* key : {"dtype", "torch_dtype"})
    for (const auto& [name, dtype] : kNames)
      if (config.is_object() && config.contains(key) && config[key] == name) return dtype;
  return std::nullopt;
}

DType dtype_of_storage(StorageType type) {
  if (type == StorageType::kF32) return DType::kF32;
  if (type == StorageType::kF16) return DType::kF16;
  return DType::kBF16;
}

}  // namespace

struct Checkpoint::State {
  std::string path;
  CheckpointContent content;
  std::unordered_map<std::string, size_t> index;  // name to position among the tensors

  State(std::string opened, CheckpointContent read)
      : path(std::move(opened)), content(std::move(read)) {
    for (size_t i = 0; i < content.tensors.size(); ++i) {
      const std::string& name = content.tensors[i].name;
      if (!index.emplace(name, i).second)
        throw CheckpointError(path + ": tensor " + name + " is there twice");
    }
    // A head of its own is used even where the config ties it, as transformers does.
    if (index.contains(kHead) && content.config.is_object())
      content.config["tie_word_embeddings"] = false;
  }
};

Checkpoint::Checkpoint(std::unique_ptr<State> state) : state_(std::move(state)) {}
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;
Checkpoint::~Checkpoint() = default;

Checkpoint Checkpoint::open(const std::string& path) {
  std::error_code ignored;
  const bool folder = std::filesystem::is_directory(path, ignored);
  if (!folder && (path.ends_with(".safetensors") || path.ends_with(".bin")))
    throw CheckpointError(path + " is a part of a model; name the folder that holds it");
  return Checkpoint(std::make_unique<State>(
      path, folder ? open_folder(path, FolderWeights::kRead) : open_gguf(path)));
}

Checkpoint Checkpoint::open_config_only(const std::string& path) {
  return Checkpoint(std::make_unique<State>(path, open_folder(path, FolderWeights::kIgnore)));
}

const std::string& Checkpoint::path() const { return state_->path; }
const std::string& Checkpoint::format() const { return state_->content.format; }
const Json& Checkpoint::config() const { return state_->content.config; }
const Json& Checkpoint::generation_config() const { return state_->content.generation_config; }
const Json& Checkpoint::tokenizer() const { return state_->content.tokenizer; }
const Json& Checkpoint::tokenizer_config() const { return state_->content.tokenizer_config; }
const std::string& Checkpoint::tokenizer_problem() const {
  return state_->content.tokenizer_problem;
}
const std::vector<CheckpointTensor>& Checkpoint::tensors() const { return state_->content.tensors; }

const CheckpointTensor* Checkpoint::find(const std::string& name) const {
  const auto found = state_->index.find(name);
  return found == state_->index.end() ? nullptr : &state_->content.tensors[found->second];
}

DType Checkpoint::natural_dtype() const {
  if (tensors().empty()) return dtype_of_config(config()).value_or(DType::kF32);
  std::array<int64_t, 3> bytes = {};
  constexpr std::array<DType, 3> kDtypes = {DType::kF32, DType::kF16, DType::kBF16};
  for (const CheckpointTensor& tensor : tensors())
    bytes[static_cast<size_t>(dtype_of_storage(tensor.type))] += tensor.bytes;
  return kDtypes[static_cast<size_t>(std::ranges::max_element(bytes) - bytes.begin())];
}

std::string Checkpoint::fingerprint() const {
  Digest digest;
  const auto add = [&](const std::string& text) { digest.update(text + "\n"); };
  for (const Json* json : {&config(), &generation_config(), &tokenizer(), &tokenizer_config()})
    add(json_text(*json));
  for (const CheckpointTensor& tensor : tensors())
    add(tensor.name + " " + std::string(storage_type_name(tensor.type)) + " " +
        shape_text(tensor.shape) + " " + std::to_string(tensor.file) + " " +
        std::to_string(tensor.offset) + " " + std::to_string(tensor.permuted_heads));
  for (const InputFile& file : state_->content.files)
    add(std::to_string(file.size()) + " " + std::to_string(file.modified_ns()));
  return digest_to_hex(digest.value());
}

void Checkpoint::read_rows(const CheckpointTensor& tensor, int64_t begin, int64_t rows,
                           float* target) const {
  const int64_t all_rows = tensor.shape.empty() ? 1 : tensor.shape[0];
  require(begin >= 0 && rows >= 0 && rows <= all_rows && begin <= all_rows - rows,
          "rows of a tensor lie inside it");
  if (rows == 0) return;
  const InputFile& file = state_->content.files[static_cast<size_t>(tensor.file)];
  const Rows wanted = {begin, rows, element_count(tensor.shape).value_or(0) / all_rows};
  if (tensor.transposed) {
    read_from_columns(file, tensor, wanted, target);
  } else {
    read_from_rows(file, tensor, wanted, target);
  }
  if (tensor.scales) multiply_by_scales(*this, *tensor.scales, wanted, target);
}

}  // namespace zerostream
