#include "bench/plain_onednn.h"

namespace zerostream {

std::unique_ptr<PlainOnednn> make_plain_onednn(const PlainOnednnShape&, WorkerPool&) {
  return nullptr;
}

}  // namespace zerostream
