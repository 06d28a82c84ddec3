// Jobs that are killed at a file call.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "tests/faults/fault_files.h"
#include "tests/faults/tiny_job.h"
#include "tests/faults/watchdog.h"

namespace zerostream {
namespace {

// Runs the job in a process that ends at the n-th call; true if it got to the end before.
bool run_and_kill(TinyJob& job, int64_t call, double short_probability) {
  const pid_t process = fork();
  if (process == 0) {
    const Watchdog watchdog("killed at call " + std::to_string(call), 120);
    const FaultyFiles files({.folder = job.folder(),
                             .seed = static_cast<uint64_t>(call),
                             .short_probability = short_probability,
                             .kill_at = call});
    _exit(job.run({.engine = IoEngineKind::kLibaio}, {}).code);
  }
  int status = 0;
  waitpid(process, &status, 0);
  EXPECT_TRUE(!WIFEXITED(status) || WEXITSTATUS(status) == 0) << WEXITSTATUS(status);
  return WIFEXITED(status);
}

// At every call that the job makes for its files: what is there is valid, and the next run, killed
// too at some later call or not, ends with the output of an undisturbed one.
void kill_at_every_call(double short_probability) {
  TinyJob job;
  int kills = 0;
  for (int64_t call = 0;; ++call) {
    job.remove_output();
    if (run_and_kill(job, call, short_probability)) break;
    ++kills;
    ASSERT_EQ(job.problem_of_part(), "") << "killed at call " << call;
    run_and_kill(job, call * 7 % 50, short_probability);
    ASSERT_EQ(job.problem_of_part(), "") << "killed at call " << call << " and again";
    ASSERT_EQ(job.run({.stream_weights = call % 2 == 0, .stream_kv = false}, {}).code, 0);
    ASSERT_EQ(job.problem_of_whole(), "") << "killed at call " << call;
  }
  EXPECT_GT(kills, 50);
}

TEST(KilledJobs, AtEveryFileCall) { kill_at_every_call(0); }

TEST(KilledJobs, AtEveryFileCallWithLinesInPieces) { kill_at_every_call(0.5); }

}  // namespace
}  // namespace zerostream
