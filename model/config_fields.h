// Typed access to the fields of a config.json.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "model/json.h"

namespace zerostream {

// Reads fields of a JSON object; null counts as absent. `source` names the file in errors, `path`
// the object inside it ("rope_scaling."). The object must outlive this.
// Errors: CheckpointError naming the field, its value and what was expected.
class ConfigFields {
 public:
  ConfigFields(const Json& object, std::string source, std::string path = "");

  bool has(std::string_view key) const { return find(key) != nullptr; }
  const Json* find(std::string_view key) const;  // null when absent
  bool is_null(std::string_view key) const;      // there, with the value null
  ConfigFields object(std::string_view key) const;

  struct Range {
    int64_t min;
    int64_t max;
  };
  int64_t integer(std::string_view key, Range range) const;  // must be there
  int64_t integer_or(std::string_view key, int64_t fallback, Range range) const;
  double number(std::string_view key) const;  // finite, greater than 0; must be there
  double number_or(std::string_view key, double fallback) const;
  std::vector<double> numbers(std::string_view key) const;  // finite, greater than 0
  bool flag_or(std::string_view key, bool fallback) const;
  std::string text_or(std::string_view key, std::string_view fallback) const;
  std::vector<std::string> texts(std::string_view key) const;  // a list of strings, empty if absent
  // A token id, a list of them, or nothing; ids outside [0, vocab_size) cannot occur and are
  // dropped.
  std::vector<int32_t> token_ids(std::string_view key, int64_t vocab_size) const;

  // The first of the keys that is there, else the first: for fields with two spellings.
  std::string_view spelling(std::initializer_list<std::string_view> keys) const;

  [[noreturn]] void refuse(std::string_view key, const std::string& why) const;

 private:
  const Json& require(std::string_view key) const;

  const Json& object_;
  std::string source_;
  std::string path_;
};

}  // namespace zerostream
