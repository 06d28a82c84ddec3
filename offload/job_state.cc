#include "offload/job_state.h"

#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>

#include "base/digest.h"
#include "nvme/transfer.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr const char* kHeaderKey = "zerostream_job_state";

// The file behind a symbolic link, so that a rename replaces the file and not the link.
std::string resolved(const std::string& path) {
  std::error_code error;
  const auto target = std::filesystem::canonical(path, error);
  return error ? path : target.string();
}

void cut(const File& file, int64_t bytes) {
  if (ftruncate(file.fd(), bytes) != 0)
    throw IoError("cannot shorten " + file.path() + ": " + std::strerror(errno), errno);
}

// Writes at `end`, which moves on; a line that does not fit whole is taken back.
void write_line(const File& file, int64_t& end, std::string_view line) {
  std::string bytes(line);
  bytes += '\n';
  const auto size = static_cast<int64_t>(bytes.size());
  try {
    write_fully(file, end, reinterpret_cast<const std::byte*>(bytes.data()), size);
  } catch (const IoError&) {
    cut(file, end);
    throw;
  }
  end += size;
}

// Calls `use` with every whole line; returns the bytes that they take.
int64_t for_each_line(const std::string& path,
                      const std::function<void(std::string& line, int64_t position)>& use) {
  std::ifstream stream(path, std::ios::binary);
  int64_t end = 0;
  for (std::string line; std::getline(stream, line) && !stream.eof();) {
    const int64_t begin = end;
    end += static_cast<int64_t>(line.size()) + 1;
    use(line, begin);
  }
  if (stream.bad()) throw IoError("cannot read " + path, EIO);
  return end;
}

std::string entry_text(const JobState::Entry& entry, uint64_t digest) {
  char text[128];
  std::snprintf(text, sizeof text, "%016" PRIx64 "%016" PRIx64 " %016" PRIx64 " %" PRId64 " %s",
                entry.row.high, entry.row.low, digest, entry.index, entry.error ? "error" : "ok");
  return text;
}

struct ReadEntry {
  JobState::Entry entry;
  uint64_t digest = 0;
};

std::optional<ReadEntry> parse_entry(const std::string& text) {
  ReadEntry read;
  char status[8] = {};
  if (std::sscanf(text.c_str(), "%16" SCNx64 "%16" SCNx64 " %16" SCNx64 " %" SCNd64 " %5s",
                  &read.entry.row.high, &read.entry.row.low, &read.digest, &read.entry.index,
                  status) != 5)
    return std::nullopt;
  read.entry.error = std::strcmp(status, "ok") != 0;
  return read;
}

std::string with_index(const std::string& line, int64_t index) {
  auto row = nlohmann::ordered_json::parse(line);
  row["index"] = index;
  return row.dump();
}

// Whether with_index() can change the line.
bool is_row(const std::string& line) {
  try {
    return parse_json(line, "").is_object();
  } catch (const CheckpointError&) {
    return false;
  }
}

// The first line of a state file; not an object with settings unless a run wrote it.
Json parse_header(const std::string& line) {
  try {
    return parse_json(line, "");
  } catch (const CheckpointError&) {
    return false;
  }
}

// A new version of a file, put together line by line beside it and renamed over it.
class Rewrite {
 public:
  explicit Rewrite(std::string path) : path_(std::move(path)) {}
  bool begun() const { return fresh_.fd() >= 0; }

  // From here on lines are written anew; what stands before `position` is taken over.
  void begin(int64_t position) {
    if (begun()) return;
    const std::string fresh = path_ + ".new";
    std::filesystem::copy_file(path_, fresh, std::filesystem::copy_options::overwrite_existing);
    fresh_ = File::open(fresh, {.write = true});
    cut(fresh_, position);
    end_ = position;
  }
  void keep(std::string_view line) {
    if (begun()) write_line(fresh_, end_, line);
  }
  void move_aside(std::string_view line) {
    if (old_.fd() < 0) {
      old_ = File::open(path_ + ".old", {.write = true});
      old_end_ = old_.size();
    }
    write_line(old_, old_end_, line);
  }
  void commit() {
    if (old_.fd() >= 0) old_.sync();
    fresh_.sync();
    std::filesystem::rename(fresh_.path(), path_);
  }

 private:
  std::string path_;
  File fresh_, old_;
  int64_t end_ = 0, old_end_ = 0;
};

}  // namespace

JobState::JobState(const std::string& output_path)
    : path_(resolved(output_path)),
      fresh_(!std::filesystem::exists(path_)),
      state_(File::open(path_ + ".state", {.write = true})) {
  struct stat info {};
  const bool locked = flock(state_.fd(), LOCK_EX | LOCK_NB) == 0 &&
                      fstat(state_.fd(), &info) == 0 && info.st_nlink > 0;
  if (!locked) throw UsageError(path_ + ": another run is writing this output");
  output_ = File::open(path_, {.write = true});
}

JobState::~JobState() {
  if (!fresh_ || output_.fd() < 0) return;
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
  std::filesystem::remove(state_.path(), ignored);
}

ResumeSummary JobState::prepare(const Json& settings, bool resume,
                                const std::optional<InputIndex>& input) {
  fresh_ = false;
  if (!resume || !has_output()) {
    start_over(settings);
    return {};
  }
  KnownLines known;
  check_settings(read_state(known), settings);
  return reconcile(known, input);
}

void JobState::start_over(const Json& settings) {
  cut(output_, 0);
  cut(state_, 0);
  write_line(state_, state_end_, Json{{kHeaderKey, 1}, {"settings", settings}}.dump());
}

Json JobState::read_state(KnownLines& known) {
  Json header;
  state_end_ = for_each_line(state_.path(), [&](const std::string& line, int64_t) {
    if (header.is_null()) {
      header = parse_header(line);
    } else if (const auto read = parse_entry(line)) {
      known[read->digest] = read->entry;
    }
  });
  cut(state_, state_end_);
  const bool known_header = header.is_object() && header.contains(kHeaderKey) &&
                            header.contains("settings") && header["settings"].is_object() &&
                            !header["settings"].empty();
  if (!known_header)
    throw UsageError(path_ + " is not empty, and " + state_.path() +
                     " does not say how it was made: name another job.output, or replace it with "
                     "job.resume: false");
  return header["settings"];
}

void JobState::check_settings(const Json& known, const Json& settings) const {
  const Json before = known.flatten(), now = settings.flatten();
  std::string changes;
  const auto list = [&](const std::string& key) {
    const auto text = [&](const Json& from) {
      return from.contains(key) ? from.at(key).dump() : std::string("none");
    };
    if (text(before) != text(now))
      changes += (changes.empty() ? "" : ", ") + key.substr(1) + " was " + text(before) +
                 " and is " + text(now);
  };
  for (const auto& [key, value] : now.items()) list(key);
  for (const auto& [key, value] : before.items())
    if (!now.contains(key)) list(key);
  if (changes.empty()) return;
  throw UsageError(path_ + " was made with other settings (" + changes +
                   "): name another job.output, or replace it with job.resume: false");
}

ResumeSummary JobState::reconcile(const KnownLines& known, const std::optional<InputIndex>& input) {
  ResumeSummary summary;
  Rewrite rewrite(path_);
  const int64_t whole_lines = for_each_line(path_, [&](std::string& line, int64_t position) {
    const auto found = known.find(digest_of(line));
    bool ours = found != known.end();
    const Entry entry = ours ? found->second : Entry{};
    const bool wanted = !input || input->contains(entry.row);
    const int64_t index = input && wanted ? input->at(entry.row) : entry.index;
    ours = ours && (index == entry.index || is_row(line));
    if (ours && entry.error) {
      rewrite.begin(position);
      ++summary.redone;
    } else if (!ours || !wanted || !done_.insert(entry.row).second) {
      rewrite.begin(position);
      rewrite.move_aside(line);
      ++summary.moved_aside;
    } else {
      ++summary.kept;
      if (index != entry.index) {
        rewrite.begin(position);
        line = with_index(line, index);
        write_entry({.row = entry.row, .index = index}, line);
      }
      rewrite.keep(line);
    }
  });
  cut(output_, whole_lines);
  if (rewrite.begun()) {
    state_.sync();
    rewrite.commit();
    output_ = File::open(path_, {.write = true});
  }
  output_end_ = output_.size();
  return summary;
}

void JobState::write_entry(const Entry& entry, std::string_view line) {
  write_line(state_, state_end_, entry_text(entry, digest_of(line)));
}

void JobState::append(const Entry& entry, std::string_view line) {
  write_entry(entry, line);
  write_line(output_, output_end_, line);
}

void JobState::sync() const {
  output_.sync();
  state_.sync();
}

}  // namespace zerostream
