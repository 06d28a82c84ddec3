#include "nvme/deadline_engine.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "nvme/alarm_fd.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using Clock = AlarmFd::Clock;

class DeadlineEngine final : public IoEngine {
 public:
  DeadlineEngine(std::unique_ptr<IoEngine> engine, double seconds)
      : engine_(std::move(engine)),
        patience_(
            std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds))),
        alarm_(engine_->event_fd()),
        pending_(static_cast<size_t>(engine_->capacity())) {
    for (size_t i = pending_.size(); i-- > 0;) free_.push_back(i);
    renamed_.reserve(pending_.size());
  }

  ~DeadlineEngine() override {
    if (broken_.empty()) return;
    IoEngine* const engine = engine_.release();
    try {
      std::thread([engine] { delete engine; }).detach();
    } catch (const std::system_error&) {  // then it stays
    }
  }

  std::string name() const override { return engine_->name(); }
  int capacity() const override { return engine_->capacity(); }
  int event_fd() const override { return alarm_.fd(); }
  std::string register_buffer(std::byte* data, int64_t bytes) override {
    return engine_->register_buffer(data, bytes);
  }

  void submit(std::span<const IoRequest> requests) override {
    throw_if_broken();
    const Clock::time_point due = Clock::now() + patience_;
    renamed_.clear();
    for (IoRequest request : requests) {
      const size_t slot = free_.back();
      free_.pop_back();
      pending_[slot] = {request, due};
      request.tag = slot;
      renamed_.push_back(request);
    }
    engine_->submit(renamed_);
    if (!alarm_set_) set_alarm(due);
  }

  int reap(int min, std::span<IoCompletion> completions) override {
    size_t count = 0;
    while (true) {
      count += collect(completions.subspan(count));
      look_at_clock();
      if (count == 0) throw_if_broken();
      if (count >= static_cast<size_t>(min)) return static_cast<int>(count);
      alarm_.wait();
    }
  }

 private:
  struct Pending {
    IoRequest request;
    Clock::time_point due = Clock::time_point::max();  // max: nothing is in flight here
  };

  size_t collect(std::span<IoCompletion> completions) {
    const int count = engine_->reap(0, completions);
    for (IoCompletion& completion : completions.first(static_cast<size_t>(count))) {
      const size_t slot = completion.tag;
      completion.tag = pending_[slot].request.tag;
      pending_[slot].due = Clock::time_point::max();
      free_.push_back(slot);
    }
    return static_cast<size_t>(count);
  }

  // The alarm goes off about once in `patience_`, not once a request.
  void look_at_clock() {
    const Clock::time_point now = Clock::now();
    if (!alarm_set_ || now < alarm_at_) return;
    const Pending& oldest =
        *std::min_element(pending_.begin(), pending_.end(),
                          [](const Pending& a, const Pending& b) { return a.due < b.due; });
    if (oldest.due <= now) return give_up(oldest.request);
    alarm_set_ = oldest.due != Clock::time_point::max();
    alarm_set_ ? set_alarm(oldest.due) : alarm_.clear();
  }

  void set_alarm(Clock::time_point when) {
    alarm_.set(when);
    alarm_at_ = when;
    alarm_set_ = true;
  }

  // The alarm stays on, so that whoever waits for the descriptor hears of it.
  void give_up(const IoRequest& request) {
    std::error_code error;
    const auto path =
        std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(request.fd), error);
    broken_ = (request.kind == IoRequest::Kind::kRead ? "reading " : "writing ") +
              std::to_string(request.bytes) + " bytes at " + std::to_string(request.offset) +
              (request.kind == IoRequest::Kind::kRead ? " of " : " to ") + path.string() +
              " has not ended for " +
              std::to_string(std::chrono::duration_cast<std::chrono::seconds>(patience_).count()) +
              " s (nvme.timeout)";
  }

  void throw_if_broken() const {
    if (!broken_.empty()) throw IoError(broken_, ETIMEDOUT);
  }

  std::unique_ptr<IoEngine> engine_;
  const Clock::duration patience_;
  AlarmFd alarm_;
  Clock::time_point alarm_at_{};
  bool alarm_set_ = false;
  std::string broken_;            // why, once it is
  std::vector<Pending> pending_;  // by the tag that the wrapped engine sees
  std::vector<size_t> free_;
  std::vector<IoRequest> renamed_;
};

}  // namespace

std::unique_ptr<IoEngine> make_deadline_engine(std::unique_ptr<IoEngine> engine, double seconds) {
  return std::make_unique<DeadlineEngine>(std::move(engine), seconds);
}

}  // namespace zerostream
