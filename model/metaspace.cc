#include "model/metaspace.h"

#include "model/utf8.h"

namespace zerostream {
namespace {

Metaspace::Prepend read_prepend(const JsonPart& part) {
  const std::string name = part.text();
  if (name == "always") return Metaspace::Prepend::kAlways;
  if (name == "first") return Metaspace::Prepend::kFirst;
  if (name == "never") return Metaspace::Prepend::kNever;
  part.fail("\"" + name + "\" is not supported");
}

}  // namespace

Metaspace::Metaspace(const JsonPart& part)
    : mark(part.member("replacement").text()), split(part.boolean("split", true)) {
  if (mark.empty() || utf8_at(mark, 0).bytes != mark.size()) {
    part.member("replacement").fail("must be one character");
  }
  const JsonPart scheme = part.member("prepend_scheme");
  if (!scheme.is_null()) {
    prepend = read_prepend(scheme);
  } else if (!part.boolean("add_prefix_space", true)) {
    prepend = Prepend::kNever;
  }
}

}  // namespace zerostream
