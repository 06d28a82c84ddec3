#include "model/fp8_scales.h"

#include <array>
#include <set>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "model/tensor_shape.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr const char* kEntry = "quantization_config";
constexpr std::array<std::string_view, 2> kFactorSuffixes = {"_scale_inv", "_scale"};
constexpr std::array<std::string_view, 2> kActivationSuffixes = {".input_scale",
                                                                 ".activation_scale"};

bool is_fp8(StorageType type) {
  return type == StorageType::kF8E4M3 || type == StorageType::kF8E5M2;
}

bool is_plain(StorageType type) {
  return type == StorageType::kF32 || type == StorageType::kF16 || type == StorageType::kBF16;
}

int64_t blocks_of(int64_t size, int64_t block) { return size / block + (size % block != 0); }

class ScaleFinder {
 public:
  ScaleFinder(const Json& entry, std::vector<CheckpointTensor>& tensors) : tensors_(tensors) {
    for (size_t i = 0; i < tensors.size(); ++i) index_.emplace(tensors[i].name, i);
    if (const auto size = entry.find("weight_block_size"); size != entry.end() && !size->is_null())
      read_block_size(*size);
  }

  // What is wrong, one line each.
  std::string attach() {
    for (CheckpointTensor& tensor : tensors_)
      if (is_fp8(tensor.type)) attach(tensor);
    std::erase_if(tensors_, [&](const CheckpointTensor& tensor) { return is_scale(tensor.name); });
    return problems_;
  }

 private:
  void read_block_size(const Json& size) {
    const auto valid = [](const Json& value) {
      return value.is_number_integer() && value > 0 && value <= int64_t{1} << 30;
    };
    if (!size.is_array() || size.size() != 2 || !valid(size[0]) || !valid(size[1])) {
      problems_ += "\n  weight_block_size is " + size.dump();
      return;
    }
    block_rows_ = size[0].get<int64_t>();
    block_cols_ = size[1].get<int64_t>();
  }

  bool is_scale(const std::string& name) const {
    if (used_.contains(name)) return true;
    for (const std::string_view suffix : kActivationSuffixes)
      if (name.ends_with(suffix)) return true;
    return false;
  }

  void attach(CheckpointTensor& tensor) {
    const auto problem = [&](const std::string& what) {
      problems_ += "\n  " + tensor.name + " " + shape_text(tensor.shape) + ": " + what;
    };
    if (tensor.shape.size() != 2) return problem("fp8, but no matrix");
    const CheckpointTensor* factors = nullptr;
    for (const std::string_view suffix : kFactorSuffixes)
      if (const auto found = index_.find(tensor.name + std::string(suffix));
          factors == nullptr && found != index_.end())
        factors = &tensors_[found->second];
    if (factors == nullptr) return problem("its scales are missing");
    BlockScales scales = {block_rows_, block_cols_, *factors};
    if (!is_plain(factors->type) || !fit(tensor, scales))
      return problem("its scales " + factors->name + " " + shape_text(factors->shape) + " of " +
                     std::string(storage_type_name(factors->type)) + " do not fit");
    used_.insert(factors->name);
    tensor.scales = std::make_shared<const BlockScales>(std::move(scales));
  }

  // Sets the block size where it follows from the number of factors.
  bool fit(const CheckpointTensor& tensor, BlockScales& scales) const {
    const std::vector<int64_t>& shape = scales.factors.shape;
    if (block_rows_ > 0)
      return shape == std::vector<int64_t>{blocks_of(tensor.shape[0], block_rows_),
                                           blocks_of(tensor.shape[1], block_cols_)};
    scales.cols = std::max<int64_t>(tensor.shape[1], 1);
    const auto factors = element_count(shape);
    const bool of_rows = !shape.empty() && shape[0] == tensor.shape[0] && factors == shape[0];
    scales.rows = of_rows ? 1 : std::max<int64_t>(tensor.shape[0], 1);
    return of_rows || factors == 1;
  }

  std::vector<CheckpointTensor>& tensors_;
  std::unordered_map<std::string, size_t> index_;
  int64_t block_rows_ = 0;  // 0: factors are of whole matrices or rows
  int64_t block_cols_ = 0;
  std::set<std::string> used_;
  std::string problems_;
};

bool is_supported(const Json& entry) {
  const auto is = [&](const char* key, const char* value) {
    return entry.contains(key) && entry[key] == value;
  };
  if (!entry.is_object()) return false;
  return is("quant_method", "fp8") ||
         (is("quant_method", "compressed-tensors") && is("format", "float-quantized"));
}

}  // namespace

void attach_fp8_scales(Json& config, std::vector<CheckpointTensor>& tensors,
                       const std::string& source) {
  if (!config.is_object() || !config.contains(kEntry) || !is_supported(config[kEntry])) return;
  const std::string problems = ScaleFinder(config[kEntry], tensors).attach();
  if (!problems.empty())
    throw CheckpointError(source +
                          ": the scales of fp8 weights are not those that they need:" + problems);
  config.erase(kEntry);
}

}  // namespace zerostream
