#include "model/tokenizer_json.h"

#include <fmt/format.h>

#include "model/utf8.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

const Json kNull;
constexpr size_t kLongestKey = 80;  // that messages show whole

std::string joined(const std::string& where, std::string_view key) {
  const bool top = where.empty() || where.ends_with(": ");
  std::string result = where + (top ? "" : ".");
  if (key.size() <= kLongestKey) return result.append(key);
  size_t end = 0;
  while (end < kLongestKey) end += utf8_at(key, end).bytes;
  return result.append(key.substr(0, end)).append("...");
}

}  // namespace

JsonPart JsonPart::member(std::string_view key) const {
  if (!value_->is_object()) fail("must be an object");
  const auto found = value_->find(key);
  return {found == value_->end() ? kNull : *found, joined(where_, key)};
}

std::vector<JsonPart> JsonPart::items() const {
  if (!value_->is_array()) fail("must be an array");
  std::vector<JsonPart> parts;
  parts.reserve(value_->size());
  for (size_t i = 0; i < value_->size(); ++i) {
    parts.emplace_back((*value_)[i], where_ + "[" + std::to_string(i) + "]");
  }
  return parts;
}

std::string JsonPart::text() const {
  if (!value_->is_string()) fail("must be a string");
  return value_->get<std::string>();
}

bool JsonPart::boolean(std::string_view key, bool otherwise) const {
  const JsonPart part = member(key);
  if (part.is_null()) return otherwise;
  if (!part.value().is_boolean()) part.fail("must be true or false");
  return part.value().get<bool>();
}

std::string JsonPart::text(std::string_view key, std::string_view otherwise) const {
  const JsonPart part = member(key);
  return part.is_null() ? std::string(otherwise) : part.text();
}

int32_t JsonPart::id() const {
  constexpr int64_t kHighest = int64_t{1} << 30;
  // An unsigned number beyond int64_t reads as negative.
  const int64_t id = value_->is_number_integer() ? value_->get<int64_t>() : -1;
  if (id < 0 || id > kHighest) fail("must be a token id");
  return static_cast<int32_t>(id);
}

void JsonPart::fail(const std::string& problem) const {
  throw CheckpointError(where_ + ": " + problem);
}

void JsonPart::fail_type() const { fail(fmt::format("\"{}\" is not supported", type())); }

}  // namespace zerostream
