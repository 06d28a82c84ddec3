// The engines that every test of I/O runs over.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nvme/faulty_engine.h"
#include "nvme/io_engine.h"
#include "nvme/throttled_engine.h"
#include "zerostream/error.h"

namespace zerostream {

// A kind of engine, what wraps it, and how files are opened for it.
struct EngineCase {
  IoEngineKind kind = IoEngineKind::kThreads;
  bool direct = false;
  bool faulty = false;
  bool throttled = false;

  std::string name() const {
    static const char* const kNames[] = {"Auto", "Uring", "Libaio", "Threads"};
    return std::string(kNames[static_cast<int>(kind)]) + (direct ? "Direct" : "Buffered") +
           (faulty ? "Faulty" : "") + (throttled ? "Throttled" : "");
  }
  // Faults that a transfer survives without retries.
  FaultOptions faults(uint64_t seed) const {
    return {.seed = seed,
            .short_probability = 0.3,
            .interrupted_probability = 0.1,
            .again_probability = 0.1,
            .granularity = direct ? 512 : 1};
  }
  // Throws UsageError where this machine refuses the engine.
  std::unique_ptr<IoEngine> make(int capacity, uint64_t seed = 1) const {
    std::unique_ptr<IoEngine> engine = make_io_engine(kind, capacity, nullptr);
    if (throttled)
      engine = make_throttled_engine(std::move(engine), {.jitter_us = 200, .seed = seed});
    if (faulty) engine = make_faulty_engine(std::move(engine), faults(seed));
    return engine;
  }
};

inline std::vector<EngineCase> engine_cases() {
  std::vector<EngineCase> cases;
  for (IoEngineKind kind : {IoEngineKind::kUring, IoEngineKind::kLibaio, IoEngineKind::kThreads})
    for (bool direct : {false, true})
      for (bool faulty : {false, true}) cases.push_back({kind, direct, faulty, faulty});
  return cases;
}

inline std::vector<EngineCase> faultless_engine_cases() {
  std::vector<EngineCase> cases;
  for (const EngineCase& each : engine_cases()) {
    if (each.faulty) continue;
    cases.push_back(each);
    cases.push_back({each.kind, each.direct, false, true});
  }
  return cases;
}

// Names the cases in the test report.
inline void PrintTo(const EngineCase& value, std::ostream* stream) { *stream << value.name(); }

// A suite over all engines; skips with the reason where the kernel refuses one.
class EngineTest : public testing::TestWithParam<EngineCase> {
 protected:
  void SetUp() override {
    try {
      GetParam().make(1);
    } catch (const UsageError& error) {
      GTEST_SKIP() << error.what();
    }
  }
};

inline std::string case_name(const testing::TestParamInfo<EngineCase>& info) {
  return info.param.name();
}

}  // namespace zerostream
