// Sizes in bytes as people write them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace zerostream {

// "24GiB", "512 MiB", "1.5GB", "4096": binary (KiB, MiB, GiB, TiB) and decimal (KB, MB, GB, TB)
// suffixes, B optional on its own. nullopt for anything else, for negatives and for what does not
// fit 63 bits.
std::optional<int64_t> parse_bytes(std::string_view text);

// "1.50 GiB", "812 B": three significant figures, binary suffix.
std::string format_bytes(int64_t bytes);

}  // namespace zerostream
