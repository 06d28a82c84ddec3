// Reads the parts of tokenizer.json.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/json.h"

namespace zerostream {

// A value inside a JSON file together with its place, for errors ("tokenizer.json:
// pre_tokenizer.pattern"). The value is borrowed.
//
// Errors: CheckpointError naming the place, for a member that is missing or of another kind.
class JsonPart {
 public:
  JsonPart(const Json& value, std::string where) : value_(&value), where_(std::move(where)) {}

  const Json& value() const { return *value_; }
  const std::string& where() const { return where_; }
  bool is_null() const { return value_->is_null(); }

  JsonPart member(std::string_view key) const;  // null if it is not there
  std::vector<JsonPart> items() const;          // of an array
  std::string text() const;
  std::string type() const { return member("type").text(); }
  bool boolean(std::string_view key, bool otherwise) const;  // otherwise: missing or null
  std::string text(std::string_view key, std::string_view otherwise) const;
  int32_t id() const;  // 0 .. 2^30: what follows it is an id, too

  [[noreturn]] void fail(const std::string& problem) const;
  // For a "type" that is not supported.
  [[noreturn]] void fail_type() const;

 private:
  const Json* value_;
  std::string where_;
};

}  // namespace zerostream
