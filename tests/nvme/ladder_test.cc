// What make_io_engine() does where the kernel forbids an engine.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <cstdio>
#include <cstdlib>
#include <initializer_list>

#include "nvme/io_engine.h"
#include "tests/support/seccomp.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

// Prints the engine that kAuto takes and what it skipped, in a process without these calls.
[[noreturn]] void choose_without(std::initializer_list<int> calls) {
  if (!forbid(calls)) {
    std::fputs("no seccomp", stderr);
    std::exit(0);
  }
  std::string skipped;
  const auto engine = make_io_engine(IoEngineKind::kAuto, 4, &skipped);
  std::fprintf(stderr, "chose %s; %s", engine->name().c_str(), skipped.c_str());
  std::exit(0);
}

TEST(LadderDeathTest, WithoutUring) {
  EXPECT_EXIT(choose_without({SYS_io_uring_setup}), testing::ExitedWithCode(0),
              "no seccomp|chose (libaio|threads); io_uring: (Operation not permitted .blocked by "
              "seccomp or kernel.io_uring_disabled.|this build has no liburing)");
}

TEST(LadderDeathTest, WithoutUringAndLibaio) {
  EXPECT_EXIT(
      choose_without({SYS_io_uring_setup, SYS_io_setup}), testing::ExitedWithCode(0),
      "no seccomp|chose threads; io_uring: .*; libaio: (Operation not permitted|this build)");
}

TEST(LadderDeathTest, AskedForByName) {
  const auto ask = [] {
    if (!forbid({SYS_io_uring_setup})) std::exit(0);
    try {
      make_io_engine(IoEngineKind::kUring, 4, nullptr);
    } catch (const UsageError& error) {
      std::exit(0);
    }
    std::exit(1);
  };
  EXPECT_EXIT(ask(), testing::ExitedWithCode(0), "");
}

TEST(Ladder, ThreadsAlwaysWork) {
  EXPECT_EQ(make_io_engine(IoEngineKind::kThreads, 1, nullptr)->name(), "threads");
}

}  // namespace
}  // namespace zerostream
