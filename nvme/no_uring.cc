#include "nvme/engines.h"
#include "zerostream/error.h"

namespace zerostream {

std::unique_ptr<IoEngine> make_uring_engine(int) {
  throw UsageError("io_uring: this build has no liburing");
}

}  // namespace zerostream
