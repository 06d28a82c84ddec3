#include "model/gguf_parts.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "model/input_file.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr size_t kDigits = 5;
constexpr std::string_view kOf = "-of-";
constexpr std::string_view kExtension = ".gguf";
constexpr size_t kEndingSize = 1 + kDigits + kOf.size() + kDigits + kExtension.size();

std::string five_digits(int64_t number) {
  const std::string digits = std::to_string(number);
  return std::string(kDigits - std::min(kDigits, digits.size()), '0') + digits;
}

std::optional<int64_t> number_in(std::string_view digits) {
  int64_t number = 0;
  for (const char digit : digits) {
    if (digit < '0' || digit > '9') return std::nullopt;
    number = 10 * number + (digit - '0');
  }
  return number;
}

std::string part_name(const std::string& base, int64_t number, int64_t count) {
  return base + "-" + five_digits(number) + std::string(kOf) + five_digits(count) +
         std::string(kExtension);
}

// How many parts there are, as the ending of a part's name says; nullopt for other names.
std::optional<int64_t> count_in_name(const std::string& path) {
  if (path.size() < kEndingSize) return std::nullopt;
  const std::string_view ending = std::string_view(path).substr(path.size() - kEndingSize);
  const auto number = number_in(ending.substr(1, kDigits));
  const auto count = number_in(ending.substr(1 + kDigits + kOf.size(), kDigits));
  if (!number || !count) return std::nullopt;
  const std::string base = path.substr(0, path.size() - kEndingSize);
  return path == part_name(base, *number, *count) ? count : std::nullopt;
}

int64_t integer_or(const Json& metadata, const char* key, int64_t otherwise) {
  const auto found = metadata.find(key);
  return found != metadata.end() && found->is_number_integer() ? found->get<int64_t>() : otherwise;
}

}  // namespace

std::vector<std::string> gguf_parts(const std::string& path, const Json& metadata) {
  const int64_t count = integer_or(metadata, "split.count", 0);
  if (count <= 1) return {path};
  if (count_in_name(path) != count)
    throw CheckpointError(path + ": it is one of " + std::to_string(count) +
                          " parts, whose names must end with -00001-of-" + five_digits(count) +
                          ".gguf and so on");
  const std::string base = path.substr(0, path.size() - kEndingSize);
  std::vector<std::string> parts;
  for (int64_t i = 1; i <= count; ++i) {
    parts.push_back(part_name(base, i, count));
    if (!file_exists(parts.back()))
      throw CheckpointError(parts.back() + " is missing, " + path +
                            " is another part of the model");
  }
  return parts;
}

void check_gguf_part(const Json& metadata, const std::vector<std::string>& parts, size_t index) {
  if (parts.size() == 1) return;
  const int64_t count = integer_or(metadata, "split.count", 0);
  const int64_t number = integer_or(metadata, "split.no", -1);
  if (count != std::ssize(parts) || number != static_cast<int64_t>(index))
    throw CheckpointError(parts[index] + ": it says that it is part " + std::to_string(number) +
                          " (split.no) of " + std::to_string(count) + " (split.count)");
}

}  // namespace zerostream
