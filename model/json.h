// JSON text from files that nobody vouches for.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace zerostream {

using Json = nlohmann::json;

struct JsonLimits {
  int max_depth = 64;
};

// Parses strict JSON. Throws CheckpointError naming `source` and the byte where it goes wrong:
// syntax, duplicate keys, nesting beyond the limit, invalid UTF-8. A UTF-8 byte order mark is
// skipped.
Json parse_json(std::string_view text, const std::string& source, JsonLimits limits = {});
Json read_json_file(const std::string& path, JsonLimits limits = {});

// The value as JSON text, on one line or with `indent` spaces per level. What is no UTF-8 in its
// strings (file names) becomes U+FFFD instead of an exception.
template <typename AnyJson>
std::string json_text(const AnyJson& value, int indent = -1) {
  return value.dump(indent, ' ', false, AnyJson::error_handler_t::replace);
}

}  // namespace zerostream
