#include "nvme/throttled_engine.h"

#include <algorithm>
#include <chrono>
#include <random>
#include <utility>
#include <vector>

#include "nvme/alarm_fd.h"

namespace zerostream {
namespace {

using Clock = AlarmFd::Clock;

class ThrottledEngine final : public IoEngine {
 public:
  ThrottledEngine(std::unique_ptr<IoEngine> engine, ThrottleOptions options)
      : engine_(std::move(engine)),
        options_(options),
        random_(options.seed),
        alarm_(engine_->event_fd()) {
    arrived_.resize(static_cast<size_t>(engine_->capacity()));
    held_.reserve(arrived_.size());
  }

  std::string name() const override { return "throttled " + engine_->name(); }
  int capacity() const override { return engine_->capacity(); }
  int event_fd() const override { return alarm_.fd(); }
  std::string register_buffer(std::byte* data, int64_t bytes) override {
    return engine_->register_buffer(data, bytes);
  }

  void submit(std::span<const IoRequest> requests) override {
    if (in_flight_ == 0) link_free_ = std::max(link_free_, Clock::now());
    in_flight_ += requests.size();
    engine_->submit(requests);
  }

  int reap(int min, std::span<IoCompletion> completions) override {
    size_t count = 0;
    while (true) {
      collect();
      count += hand_out(completions.subspan(count));
      set_alarm();
      if (count >= static_cast<size_t>(min)) break;
      alarm_.wait();
    }
    in_flight_ -= count;
    return static_cast<int>(count);
  }

 private:
  struct Held {
    Clock::time_point due;
    IoCompletion completion;
  };

  void collect() {
    const int count = engine_->reap(0, arrived_);
    for (const IoCompletion& completion : std::span(arrived_).first(static_cast<size_t>(count))) {
      if (options_.bytes_per_second > 0)
        link_free_ += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(
            static_cast<double>(std::max<int64_t>(completion.result, 0)) /
            options_.bytes_per_second));
      const std::chrono::microseconds extra(
          std::uniform_int_distribution<int64_t>(0, options_.jitter_us)(random_));
      held_.push_back({std::max(link_free_, Clock::now()) + extra, completion});
    }
  }

  size_t hand_out(std::span<IoCompletion> completions) {
    const Clock::time_point now = Clock::now();
    size_t count = 0;
    std::erase_if(held_, [&](const Held& held) {
      if (held.due > now || count == completions.size()) return false;
      completions[count++] = held.completion;
      return true;
    });
    return count;
  }

  void set_alarm() {
    if (held_.empty()) return alarm_.clear();
    alarm_.set(std::min_element(held_.begin(), held_.end(), [](const Held& a, const Held& b) {
                 return a.due < b.due;
               })->due);
  }

  std::unique_ptr<IoEngine> engine_;
  ThrottleOptions options_;
  std::mt19937_64 random_;
  AlarmFd alarm_;
  Clock::time_point link_free_{};
  size_t in_flight_ = 0;
  std::vector<IoCompletion> arrived_;
  std::vector<Held> held_;
};

}  // namespace

std::unique_ptr<IoEngine> make_throttled_engine(std::unique_ptr<IoEngine> engine,
                                                ThrottleOptions options) {
  return std::make_unique<ThrottledEngine>(std::move(engine), options);
}

}  // namespace zerostream
