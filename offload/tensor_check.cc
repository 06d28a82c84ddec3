#include "offload/tensor_check.h"

#include <algorithm>
#include <map>
#include <string>
#include <string_view>

#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr size_t kListed = 20;

using Shape = std::vector<int64_t>;

// The shape that each tensor must have: as many rows as its users read.
std::map<std::string, Shape> needed_shapes(const WeightSpecs& specs) {
  std::map<std::string, Shape> shapes;
  for (const MatrixSpec& spec : specs.matrices) {
    for (const SourceTensor& source : spec.sources) {
      Shape& shape = shapes.try_emplace(source.name, Shape{0, 0}).first->second;
      int64_t& outputs = shape[source.transposed ? 1 : 0];
      outputs = std::max(outputs, source.row_begin + source.rows);
      shape[source.transposed ? 0 : 1] = spec.inputs;
    }
  }
  for (const VectorSpec& spec : specs.vectors) {
    for (const SourceTensor& source : spec.sources) {
      Shape& shape = shapes.try_emplace(source.name, Shape{0}).first->second;
      shape[0] = std::max(shape[0], source.row_begin + source.rows);
    }
  }
  shapes.erase("");
  return shapes;
}

std::string shape_text(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

// The copy that some files hold of an embedding that serves as head.
constexpr std::string_view kHeadName = "lm_head.weight";

std::string listed(const std::string& title, const std::vector<std::string>& items) {
  if (items.empty()) return "";
  std::string text = "\n  " + title + " (" + std::to_string(items.size()) + "):";
  for (size_t i = 0; i < std::min(items.size(), kListed); ++i) text += "\n    " + items[i];
  if (items.size() > kListed) {
    text += "\n    ... and " + std::to_string(items.size() - kListed) + " more";
  }
  return text;
}

}  // namespace

void check_tensors(const Checkpoint& checkpoint, const WeightSpecs& specs) {
  const std::map<std::string, Shape> needed = needed_shapes(specs);
  std::vector<std::string> missing, misshapen, left_over;
  for (const auto& [name, shape] : needed) {
    const CheckpointTensor* tensor = checkpoint.find(name);
    if (tensor == nullptr) {
      missing.push_back(name + " " + shape_text(shape));
    } else if (tensor->shape != shape) {
      misshapen.push_back(name + " is " + shape_text(tensor->shape) + ", the config asks for " +
                          shape_text(shape));
    }
  }
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    if (!needed.contains(tensor.name) && tensor.name != kHeadName) left_over.push_back(tensor.name);
  }
  const std::string problems = listed("missing", missing) + listed("of another shape", misshapen) +
                               listed("left over", left_over);
  if (problems.empty()) return;
  throw CheckpointError(checkpoint.path() + ": the tensors are not those that the config asks for" +
                        problems);
}

}  // namespace zerostream
