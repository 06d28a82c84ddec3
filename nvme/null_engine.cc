#include "nvme/null_engine.h"

#include <algorithm>
#include <vector>

#include "base/require.h"
#include "nvme/event_fd.h"

namespace zerostream {
namespace {

class NullEngine final : public IoEngine {
 public:
  explicit NullEngine(int capacity) : capacity_(static_cast<size_t>(capacity)) {
    done_.reserve(capacity_);
  }

  std::string name() const override { return "null"; }
  int capacity() const override { return static_cast<int>(capacity_); }
  int event_fd() const override { return ready_.fd(); }
  std::string register_buffer(std::byte*, int64_t) override { return {}; }

  void submit(std::span<const IoRequest> requests) override {
    require(done_.size() + requests.size() <= capacity_, "the engine has room");
    for (const IoRequest& request : requests) done_.push_back({request.tag, request.bytes});
    ready_.signal();
  }

  int reap(int, std::span<IoCompletion> completions) override {
    ready_.drain();
    const size_t count = std::min(done_.size(), completions.size());
    std::copy_n(done_.begin(), count, completions.begin());
    done_.erase(done_.begin(), done_.begin() + static_cast<ptrdiff_t>(count));
    return static_cast<int>(count);
  }

 private:
  const size_t capacity_;
  EventFd ready_;
  std::vector<IoCompletion> done_;
};

}  // namespace

std::unique_ptr<IoEngine> make_null_engine(int capacity) {
  return std::make_unique<NullEngine>(capacity);
}

}  // namespace zerostream
