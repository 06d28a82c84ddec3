// A whole job on a tiny model, with what its output must be.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "offload/batch_job.h"
#include "offload/packed_store.h"
#include "tests/support/temp_dir.h"

namespace zerostream {

// What does not show in the text.
struct JobShape {
  bool stream_weights = true;
  bool stream_kv = true;
  IoEngineKind engine = IoEngineKind::kThreads;
  bool direct = true;
  int32_t prefetch_depth = 2;
  int32_t max_sequences = 6;
  int32_t block_size = 4096;
  int32_t block_tokens = 4;

  std::string text() const;
};

// How a run ended: an exit code of the command, or -1 for an exception that is no Error.
struct JobEnd {
  int code = 0;
  std::string message;
};

class TinyJob {
 public:
  TinyJob();

  // Runs the job in the state in which its files are. `adjust` may be empty.
  JobEnd run(const JobShape& shape, const std::function<void(RuntimeOptions&)>& adjust);
  // Before a run from the beginning.
  void remove_output();

  // What is wrong with the output of a run that failed or was killed: lines that no undisturbed run
  // has, or lines twice. Empty: nothing.
  std::string problem_of_part() const;
  // What is wrong with the output of a run that succeeded. Empty: nothing.
  std::string problem_of_whole() const;

  std::string folder() const { return folder_.path().string(); }
  std::string weights_path() const { return store_->weights_path(); }
  const PackedStore& store() const { return *store_; }

 private:
  void write_input() const;
  RunConfig config(const JobShape& shape) const;
  std::string output() const;

  TempDir folder_;
  std::unique_ptr<PackedStore> store_;
  std::vector<std::string> expected_;  // lines, sorted
};

}  // namespace zerostream
