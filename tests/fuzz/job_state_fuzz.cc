#include "offload/job_state.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/fuzz_targets.h"
#include "tests/support/temp_dir.h"

namespace zerostream {

void fuzz_job_state(std::string_view input) {
  const std::vector<std::string> parts = split_parts(input, 2);
  const TempDir folder;
  const std::string path = folder.file("out.jsonl");
  write_file(path + ".state", parts[0]);
  write_file(path, parts[1]);
  const Json settings = {{"model", "f00"}, {"sampling", {{"top_k", 1}}}};
  const InputIndex index = {{{.high = 1, .low = 2}, {7}}, {{.high = 3, .low = 4}, {1}}};
  JobState state(path);
  state.prepare(settings, true, index);
  JobState::Entry entry;
  entry.row = {.high = 5, .low = 6};
  state.append(entry, R"({"id":1,"index":2})");
  state.sync();
}

}  // namespace zerostream
