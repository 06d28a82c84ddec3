#include "nvme/io_engine.h"

#include <array>
#include <utility>

#include "base/require.h"
#include "nvme/engines.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr std::array kLadder = {IoEngineKind::kUring, IoEngineKind::kLibaio,
                                IoEngineKind::kThreads};

std::unique_ptr<IoEngine> make(IoEngineKind kind, int capacity) {
  switch (kind) {
    case IoEngineKind::kUring:
      return make_uring_engine(capacity);
    case IoEngineKind::kLibaio:
      return make_libaio_engine(capacity);
    default:
      return make_threads_engine(capacity);
  }
}

}  // namespace

std::unique_ptr<IoEngine> make_io_engine(IoEngineKind kind, int capacity, std::string* skipped) {
  require(capacity > 0, "an I/O engine has room for at least one request");
  if (kind != IoEngineKind::kAuto) return make(kind, capacity);
  for (IoEngineKind rung : kLadder) {
    try {
      return make(rung, capacity);
    } catch (const UsageError& error) {
      if (skipped == nullptr) continue;
      if (!skipped->empty()) *skipped += "; ";
      *skipped += error.what();
    }
  }
  throw UsageError("no I/O engine works on this machine");
}

}  // namespace zerostream
