#include "nvme/engines.h"
#include "zerostream/error.h"

namespace zerostream {

std::unique_ptr<IoEngine> make_libaio_engine(int) {
  throw UsageError("libaio: this build has no libaio");
}

}  // namespace zerostream
