#include "offload/tensor_check.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "zerostream/error.h"

namespace zerostream {
namespace {

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

// "a.7.b" in parts: "a.", 7, ".b"; the number is the first that stands between dots. -1: none.
struct NumberedName {
  std::string before;
  int64_t number = -1;
  std::string after;
};

NumberedName split_name(const std::string& name) {
  constexpr size_t kMaxDigits = 9;
  for (size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1)) {
    const size_t end = name.find_first_not_of("0123456789", dot + 1);
    if (end == std::string::npos || end == dot + 1 || end - dot > kMaxDigits || name[end] != '.')
      continue;
    return {name.substr(0, dot + 1), std::stoll(name.substr(dot + 1, end - dot - 1)),
            name.substr(end)};
  }
  return {name, -1, ""};
}

// "3", "{0-31}", "{0,2,5-7}"
std::string ranges_text(const std::set<int64_t>& numbers) {
  if (numbers.size() == 1) return std::to_string(*numbers.begin());
  std::string text = "{";
  for (auto first = numbers.begin(); first != numbers.end();) {
    auto last = first;
    while (std::next(last) != numbers.end() && *std::next(last) == *last + 1) ++last;
    text += (text.size() > 1 ? "," : "") + std::to_string(*first);
    if (last != first) text += "-" + std::to_string(*last);
    first = std::next(last);
  }
  return text + "}";
}

// All items, one line each; those that differ only in the layer share one.
std::string listed(const std::string& title, const std::vector<std::string>& items) {
  if (items.empty()) return "";
  std::map<std::pair<std::string, std::string>, std::set<int64_t>> lines;
  for (const std::string& item : items) {
    const NumberedName name = split_name(item);
    lines[{name.before, name.after}].insert(name.number);
  }
  std::string text = "\n  " + title + " (" + std::to_string(items.size()) + "):";
  for (const auto& [around, numbers] : lines) {
    const bool numbered = *numbers.begin() >= 0;
    text += "\n    " + around.first + (numbered ? ranges_text(numbers) : "") + around.second;
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
