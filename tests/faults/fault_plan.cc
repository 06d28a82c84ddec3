#include "tests/faults/fault_plan.h"

#include <cmath>
#include <random>
#include <sstream>

namespace zerostream {
namespace {

class Draw {
 public:
  explicit Draw(uint64_t seed) : random_(seed * 0x9e3779b97f4a7c15ull + 1) {}
  int64_t below(int64_t count) {
    return std::uniform_int_distribution<int64_t>(0, count - 1)(random_);
  }
  bool one_in(int64_t count) { return below(count) == 0; }
  // One of powers of 10 apart: mostly small.
  double rate(double most) {
    return most * std::pow(10, -std::uniform_real_distribution<double>(0, 3)(random_));
  }

 private:
  std::mt19937_64 random_;
};

JobShape draw_shape(Draw& draw) {
  constexpr IoEngineKind kEngines[] = {IoEngineKind::kAuto, IoEngineKind::kLibaio,
                                       IoEngineKind::kThreads};
  return {.stream_weights = !draw.one_in(4),
          .stream_kv = !draw.one_in(3),
          .engine = kEngines[draw.below(3)],
          .direct = !draw.one_in(3),
          .prefetch_depth = static_cast<int32_t>(draw.below(5)),
          .max_sequences = static_cast<int32_t>(1 + draw.below(8)),
          .block_size = static_cast<int32_t>(4096 << draw.below(5)),
          .block_tokens = static_cast<int32_t>(2 << draw.below(3))};
}

// Faults that a run survives.
void add_nuisances(Draw& draw, FaultPlan& plan) {
  plan.engine.short_probability = draw.rate(0.5);
  plan.engine.interrupted_probability = draw.rate(0.3);
  plan.engine.again_probability = draw.rate(0.3);
  plan.engine.granularity = plan.shape.direct ? 512 : 1;
  plan.files.short_probability = plan.shape.engine == IoEngineKind::kThreads ? 0 : draw.rate(0.5);
  plan.files.interrupted_probability = draw.rate(0.3);
  if (draw.one_in(4)) plan.jitter_us = 1 + draw.below(300);
}

void add_failure(Draw& draw, FaultPlan& plan) {
  switch (draw.below(8)) {
    case 0:
      plan.engine.broken_probability = draw.rate(0.5);
      break;
    case 1:
      plan.engine.full_probability = draw.rate(0.5);
      break;
    case 2:
      plan.engine.refused_submission = static_cast<int>(draw.below(100));
      break;
    case 3:
      plan.engine.lost_probability = draw.rate(0.1);
      plan.timeout_seconds = 0.05;
      break;
    case 4:
      plan.files.broken_probability = draw.rate(0.3);
      break;
    case 5:
      plan.files.descriptors_probability = draw.rate(0.3);
      break;
    default:
      plan.files.space = draw.below(6000);
      break;
  }
}

}  // namespace

FaultPlan make_fault_plan(uint64_t seed) {
  Draw draw(seed);
  FaultPlan plan;
  plan.seed = seed;
  plan.shape = draw_shape(draw);
  plan.second_shape = draw_shape(draw);
  plan.engine.seed = plan.files.seed = seed;
  plan.harmless = draw.one_in(3);
  if (plan.harmless || draw.one_in(2)) add_nuisances(draw, plan);
  if (!plan.harmless) add_failure(draw, plan);
  return plan;
}

std::string FaultPlan::text() const {
  std::ostringstream text;
  text << "seed " << seed << " (" << shape.text() << "; then " << second_shape.text() << "; engine";
  const auto show = [&](const char* name, double value) {
    if (value > 0) text << " " << name << " " << value;
  };
  show("short", engine.short_probability);
  show("EINTR", engine.interrupted_probability);
  show("EAGAIN", engine.again_probability);
  show("EIO", engine.broken_probability);
  show("ENOSPC", engine.full_probability);
  show("lost", engine.lost_probability);
  show("refused from submission", engine.refused_submission);
  show("late by us", static_cast<double>(jitter_us));
  text << "; files";
  show("short", files.short_probability);
  show("EINTR", files.interrupted_probability);
  show("EIO", files.broken_probability);
  show("EMFILE", files.descriptors_probability);
  if (files.space >= 0) text << " ENOSPC after " << files.space;
  text << ")";
  return text.str();
}

}  // namespace zerostream
