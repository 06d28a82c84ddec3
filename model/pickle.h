// Python pickles as data: nothing in them is ever executed.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace zerostream {

// One object of a pickle. Objects name each other by their number in Pickle::values; one may be
// part of several others, or of itself.
struct PickleValue {
  enum class Kind : uint8_t {
    kNone,
    kBool,
    kInteger,
    kFloat,  // its value is not kept
    kText,
    kGlobal,  // a function or class: `text` is "module.name"
    kTuple,
    kList,
    kDict,        // keys and values in turn; what BUILD adds to it is not kept
    kCall,        // what a function would return: the global, the tuple of its arguments
    kPersistent,  // what the pickle's owner keeps elsewhere: its id
  };
  Kind kind = Kind::kNone;
  int64_t integer = 0;  // of kBool and kInteger
  std::string text = {};
  std::vector<uint32_t> parts = {};
};

struct Pickle {
  std::vector<PickleValue> values;
  uint32_t root = 0;

  const PickleValue& operator[](uint32_t number) const { return values[number]; }
};

// Reads a pickle of protocol 2 to 5, of the operations that plain containers, numbers, texts and
// calls need. A global that is not among `allowed` ("torch.FloatStorage") is refused by name where
// it is mentioned; a call of collections.OrderedDict without arguments is an empty kDict.
// Memory: at most about 100 bytes for each of the pickle's, and limited. Throws CheckpointError
// naming `source` and the byte.
Pickle parse_pickle(std::string_view bytes, std::span<const std::string_view> allowed,
                    const std::string& source);

}  // namespace zerostream
