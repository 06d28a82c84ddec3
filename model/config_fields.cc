#include "model/config_fields.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "zerostream/error.h"

namespace zerostream {
namespace {

bool is_positive(const Json& value) {
  return value.is_number() && std::isfinite(value.get<double>()) && value.get<double>() > 0;
}

std::string shown(const Json& value) {
  std::string text = json_text(value);
  if (text.size() > 80) text = text.substr(0, 77) + "...";
  return text;
}

}  // namespace

ConfigFields::ConfigFields(const Json& object, std::string source, std::string path)
    : object_(object), source_(std::move(source)), path_(std::move(path)) {
  if (!object_.is_object())
    throw CheckpointError(source_ + ": " +
                          (path_.empty() ? "" : path_.substr(0, path_.size() - 1) + ": ") +
                          "expected an object, found " + shown(object_));
}

const Json* ConfigFields::find(std::string_view key) const {
  const auto entry = object_.find(key);
  return entry == object_.end() || entry->is_null() ? nullptr : &*entry;
}

bool ConfigFields::is_null(std::string_view key) const {
  const auto entry = object_.find(key);
  return entry != object_.end() && entry->is_null();
}

const Json& ConfigFields::require(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr)
    throw CheckpointError(source_ + ": field \"" + path_ + std::string(key) + "\" is missing");
  return *value;
}

void ConfigFields::refuse(std::string_view key, const std::string& why) const {
  const auto entry = object_.find(key);
  throw CheckpointError(source_ + ": field \"" + path_ + std::string(key) + "\"" +
                        (entry == object_.end() ? "" : " is " + shown(*entry)) + ": " + why);
}

ConfigFields ConfigFields::object(std::string_view key) const {
  return {require(key), source_, path_ + std::string(key) + "."};
}

int64_t ConfigFields::integer(std::string_view key, Range range) const {
  const Json& value = require(key);
  const std::string expected =
      "expected an integer from " + std::to_string(range.min) + " to " + std::to_string(range.max);
  if (!value.is_number_integer()) refuse(key, expected);
  const bool huge = value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX;
  if (huge || value.get<int64_t>() < range.min || value.get<int64_t>() > range.max)
    refuse(key, expected);
  return value.get<int64_t>();
}

int64_t ConfigFields::integer_or(std::string_view key, int64_t fallback, Range range) const {
  return has(key) ? integer(key, range) : fallback;
}

double ConfigFields::number(std::string_view key) const {
  const Json& value = require(key);
  if (!is_positive(value)) refuse(key, "expected a number greater than 0");
  return value.get<double>();
}

std::vector<double> ConfigFields::numbers(std::string_view key) const {
  const Json& list = require(key);
  if (!list.is_array() || !std::ranges::all_of(list, is_positive))
    refuse(key, "expected a list of numbers greater than 0");
  return list.get<std::vector<double>>();
}

double ConfigFields::number_or(std::string_view key, double fallback) const {
  return has(key) ? number(key) : fallback;
}

bool ConfigFields::flag_or(std::string_view key, bool fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) refuse(key, "expected true or false");
  return value->get<bool>();
}

std::string ConfigFields::text_or(std::string_view key, std::string_view fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) refuse(key, "expected a string");
  return value->get<std::string>();
}

std::vector<std::string> ConfigFields::texts(std::string_view key) const {
  const Json* value = find(key);
  std::vector<std::string> result;
  if (value == nullptr) return result;
  if (!value->is_array()) refuse(key, "expected a list of strings");
  for (const Json& entry : *value) {
    if (!entry.is_string()) refuse(key, "expected a list of strings");
    result.push_back(entry.get<std::string>());
  }
  return result;
}

std::vector<int32_t> ConfigFields::token_ids(std::string_view key, int64_t vocab_size) const {
  const Json* value = find(key);
  std::vector<int32_t> ids;
  if (value == nullptr) return ids;
  const Json list = value->is_array() ? *value : Json::array({*value});
  for (const Json& entry : list) {
    if (!entry.is_number_integer()) refuse(key, "expected a token id or a list of them");
    const auto id = entry.get<int64_t>();
    if (id >= 0 && id < vocab_size) ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

std::string_view ConfigFields::spelling(std::initializer_list<std::string_view> keys) const {
  for (const std::string_view key : keys)
    if (has(key)) return key;
  return *keys.begin();
}

}  // namespace zerostream
