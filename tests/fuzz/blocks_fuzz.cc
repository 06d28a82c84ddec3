#include <cstring>
#include <vector>

#include "model/storage_type.h"
#include "tests/fuzz/fuzz_targets.h"

namespace zerostream {

void fuzz_blocks(std::string_view input) {
  constexpr auto kTypes = static_cast<uint8_t>(StorageType::kIQ4XS) + 1;
  if (input.empty()) return;
  const auto type = static_cast<StorageType>(static_cast<uint8_t>(input[0]) % kTypes);
  const StorageBlock block = storage_block(type);
  const std::vector<char> bytes(input.begin() + 1, input.end());
  const int64_t count = std::ssize(bytes) / block.bytes * block.elements;
  std::vector<float> values(static_cast<size_t>(count));
  decode_elements(type, reinterpret_cast<const std::byte*>(bytes.data()), count, values.data());
}

}  // namespace zerostream
