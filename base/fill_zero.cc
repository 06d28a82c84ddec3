#include "base/fill_zero.h"

#include <algorithm>
#include <cstring>

namespace zerostream {

void fill_zero(Device& device, const Buffer& memory) {
  const Buffer zeros = device.allocate_pinned(std::min(memory.size(), kHugePageBytes));
  if (zeros.size() == 0) return;
  std::memset(zeros.data(), 0, static_cast<size_t>(zeros.size()));
  const std::unique_ptr<Stream> stream = device.make_copy_stream();
  for (int64_t at = 0; at < memory.size(); at += zeros.size())
    stream->copy(memory.data() + at, zeros.data(), std::min(zeros.size(), memory.size() - at));
  stream->synchronize();
}

}  // namespace zerostream
