// YAML that people wrote, as values that know where they stand.
#pragma once

#include <string>
#include <vector>

#include "model/json.h"

namespace zerostream {

// A value with the line that it begins on. Maps keep their keys in `keys`, in
// order and each once; `items` are the values of a map or a list.
struct YamlNode {
  int line = 0;
  Json scalar;
  bool is_map = false, is_sequence = false;
  std::vector<std::string> keys;
  std::vector<YamlNode> items;

  Json json() const;
};

// One document. `source` names it in messages. Plain scalars are read by the core schema, numbers
// in decimal only. Throws UsageError with source and line: bad syntax, keys given twice, several
// documents, anchors, aliases and tags; more than 1 MiB;
// text that is not UTF-8.
YamlNode parse_yaml(const std::string& text, const std::string& source);
// The same of a file; `what` it is ("the run file") for the UsageError when it cannot be read.
YamlNode read_yaml(const std::string& path, const std::string& what);

}  // namespace zerostream
