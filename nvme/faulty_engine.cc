#include "nvme/faulty_engine.h"

#include <cerrno>
#include <random>
#include <utility>
#include <vector>

#include "zerostream/error.h"

namespace zerostream {
namespace {

class FaultyEngine final : public IoEngine {
 public:
  FaultyEngine(std::unique_ptr<IoEngine> engine, FaultOptions faults)
      : engine_(std::move(engine)), faults_(faults), random_(faults.seed) {
    const int capacity = engine_->capacity();
    pending_.resize(static_cast<size_t>(capacity));
    for (int i = capacity; i-- > 0;) free_.push_back(static_cast<size_t>(i));
    changed_.reserve(pending_.size());
  }

  std::string name() const override { return "faulty " + engine_->name(); }
  int capacity() const override { return engine_->capacity(); }
  int event_fd() const override { return engine_->event_fd(); }
  std::string register_buffer(std::byte* data, int64_t bytes) override {
    return engine_->register_buffer(data, bytes);
  }

  void submit(std::span<const IoRequest> requests) override {
    if (faults_.refused_submission >= 0 && submissions_++ >= faults_.refused_submission)
      throw IoError("the queue is broken", ENXIO);
    changed_.clear();
    for (const IoRequest& request : requests)
      if (!happens(faults_.lost_probability)) changed_.push_back(change(request));
    engine_->submit(changed_);
  }

  int reap(int min, std::span<IoCompletion> completions) override {
    const int count = engine_->reap(min, completions);
    for (IoCompletion& completion : completions.first(static_cast<size_t>(count))) {
      const Pending& pending = pending_[completion.tag];
      free_.push_back(completion.tag);
      if (pending.error != 0) completion.result = -pending.error;
      if (pending.flips && completion.result > 0) flip(pending.data, completion.result);
      completion.tag = pending.tag;
    }
    return count;
  }

 private:
  struct Pending {
    uint64_t tag = 0;
    int error = 0;
    std::byte* data = nullptr;
    bool flips = false;
  };

  void flip(std::byte* data, int64_t bytes) {
    const uint64_t bit = random_() % (8 * static_cast<uint64_t>(bytes));
    data[bit / 8] ^= std::byte{1} << (bit % 8);
  }

  bool happens(double probability) {
    return probability > 0 && std::uniform_real_distribution<double>()(random_) < probability;
  }

  int error_of(const IoRequest& request) {
    const int64_t into = faults_.bad_offset - request.offset;
    if (into >= 0 && into < request.bytes && faults_.bad_times != 0) {
      if (faults_.bad_times > 0) --faults_.bad_times;
      return EIO;
    }
    if (happens(faults_.interrupted_probability)) return EINTR;
    if (happens(faults_.again_probability)) return EAGAIN;
    if (happens(faults_.broken_probability)) return EIO;
    if (request.kind == IoRequest::Kind::kWrite && happens(faults_.full_probability)) return ENOSPC;
    return 0;
  }

  // A request that is to fail goes on without bytes, so that it completes in its own time.
  IoRequest change(IoRequest request) {
    const size_t slot = free_.back();
    free_.pop_back();
    const bool flips = request.kind == IoRequest::Kind::kRead && happens(faults_.flip_probability);
    pending_[slot] = {request.tag, error_of(request), request.data, flips};
    request.tag = slot;
    if (pending_[slot].error != 0) {
      request.bytes = 0;
    } else if (happens(faults_.short_probability) && request.bytes > faults_.granularity) {
      const int64_t pieces = (request.bytes - 1) / faults_.granularity;
      request.bytes =
          faults_.granularity * std::uniform_int_distribution<int64_t>(1, pieces)(random_);
    }
    return request;
  }

  std::unique_ptr<IoEngine> engine_;
  FaultOptions faults_;
  std::mt19937_64 random_;
  int submissions_ = 0;
  std::vector<Pending> pending_;  // by the tag that the wrapped engine sees
  std::vector<size_t> free_;
  std::vector<IoRequest> changed_;
};

}  // namespace

std::unique_ptr<IoEngine> make_faulty_engine(std::unique_ptr<IoEngine> engine,
                                             FaultOptions faults) {
  return std::make_unique<FaultyEngine>(std::move(engine), faults);
}

}  // namespace zerostream
