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

}  // namespace zerostream
