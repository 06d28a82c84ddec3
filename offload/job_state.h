// The output file of a job, and which rows it already holds.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "nvme/file.h"
#include "offload/rows.h"

namespace zerostream {

// Where a row stands in the input.
struct RowPlace {
  int64_t index = 0;
  int64_t numbered = 0;  // as in InputRow
  bool operator==(const RowPlace&) const = default;
};

// Rows of the whole input, where it can be known before the run.
using InputIndex = std::unordered_map<RowIdentity, RowPlace, RowIdentityHash>;

// How the last run's output was taken over.
struct ResumeSummary {
  int64_t kept = 0;         // finished rows that need no work
  int64_t redone = 0;       // error rows that were cut out, to be tried again
  int64_t moved_aside = 0;  // lines that are not of this input any more, now in OUT.old
};

// OUT holds one line per finished row, in the order in which they ended. OUT.state beside it begins
// with a line of the settings that the texts depend on, and has a line per output line: the row's
// identity, the digest of the output line, the row's place, and whether it is an error row. A state
// line is written before its output line. So, whenever a run is killed, every whole line of OUT is
// known by its digest, a torn last line is cut off, and the order of lines does not matter.
//
// The state file is locked while this lives. Threads: done() from any between prepare() and the end
// of all append() calls made by one thread. Errors: IoError with path and errno, also where
// somebody removes one of the files.
class JobState {
 public:
  // Creates OUT and OUT.state if absent. Throws UsageError when another run has them.
  explicit JobState(const std::string& output_path);
  // Removes them again where this created them and prepare() never came.
  ~JobState();

  // Makes OUT ready for this run. A setting that is null is as good as absent. With `resume`, lines
  // of `input`'s rows stay (all lines of rows without errors if `input` is absent) and get their
  // present place; error rows are cut out; other lines move to the end of OUT.old. Without
  // `resume`, OUT becomes empty. Throws UsageError when OUT was made with other settings, naming
  // them, or is not known to be made by a run.
  ResumeSummary prepare(const Json& settings, bool resume, const std::optional<InputIndex>& input);

  // Throws as prepare() would for the settings that are given, where not all are known yet.
  void check(const Json& settings, bool resume);

  // Whether the row was finished by an earlier run.
  bool done(const RowIdentity& row) const { return done_.contains(row); }
  bool has_output() const { return output_.size() > 0; }

  struct Entry {
    RowIdentity row;
    RowPlace place;
    bool error = false;
  };
  // Adds a line (without "\n"), in one write. When that fails, OUT is cut back to whole lines.
  // Every some seconds everything is put on the disk.
  void append(const Entry& entry, std::string_view line);
  // Calls `use` with every line of OUT.
  void for_each_line(const std::function<void(std::string_view line)>& use) const;
  // Puts everything on the disk.
  void sync() const;

 private:
  using KnownLines = std::unordered_map<uint64_t, Entry>;  // by digest of the output line

  Json read_state(KnownLines& known);  // returns the settings
  void check_settings(const Json& known, const Json& settings) const;
  void start_over(const Json& settings);
  ResumeSummary reconcile(const KnownLines& known, const std::optional<InputIndex>& input);
  void write_entry(const Entry& entry, std::string_view line);
  void check_named() const;

  std::string path_;
  bool fresh_;  // OUT was not there, and is not used yet
  File output_, state_;
  int64_t output_end_ = 0, state_end_ = 0;
  std::unordered_set<RowIdentity, RowIdentityHash> done_;
  std::chrono::steady_clock::time_point synced_ = std::chrono::steady_clock::now();
};

}  // namespace zerostream
