#include "model/file_tensor.h"

#include <array>
#include <utility>

namespace zerostream {

std::optional<int64_t> file_dtype_bytes(std::string_view dtype) {
  constexpr std::array<std::pair<std::string_view, int64_t>, 15> kBytes = {{{"F64", 8},
                                                                            {"F32", 4},
                                                                            {"F16", 2},
                                                                            {"BF16", 2},
                                                                            {"F8_E4M3", 1},
                                                                            {"F8_E5M2", 1},
                                                                            {"I64", 8},
                                                                            {"I32", 4},
                                                                            {"I16", 2},
                                                                            {"I8", 1},
                                                                            {"U64", 8},
                                                                            {"U32", 4},
                                                                            {"U16", 2},
                                                                            {"U8", 1},
                                                                            {"BOOL", 1}}};
  for (const auto& [known, bytes] : kBytes)
    if (known == dtype) return bytes;
  return std::nullopt;
}

}  // namespace zerostream
