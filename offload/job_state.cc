#include "offload/job_state.h"

#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <utility>

#include "base/digest.h"
#include "nvme/transfer.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr const char* kHeaderKey = "zerostream_job_state";
constexpr int64_t kPieceBytes = int64_t{1} << 20;
constexpr std::chrono::seconds kSyncInterval{10};

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
    if (ftruncate(file.fd(), end) != 0) throw;  // the next run cuts off what is torn
    throw;
  }
  end += size;
}

// Calls `use` with the first `bytes` of the file, a piece at a time.
void read_pieces(const File& file, int64_t bytes,
                 const std::function<void(std::string_view piece)>& use) {
  std::string piece;
  for (int64_t done = 0; done < bytes; done += std::ssize(piece)) {
    piece.resize(static_cast<size_t>(std::min(kPieceBytes, bytes - done)));
    read_fully(file, done, reinterpret_cast<std::byte*>(piece.data()), std::ssize(piece));
    use(piece);
  }
}

// Calls `use` with every whole line; returns the bytes that they take.
int64_t read_lines(const File& file,
                   const std::function<void(std::string& line, int64_t position)>& use) {
  std::string line;
  int64_t end = 0;
  read_pieces(file, file.size(), [&](std::string_view piece) {
    for (size_t begin = 0; begin < piece.size();) {
      const size_t border = piece.find('\n', begin);
      line += piece.substr(begin, border - begin);
      if (border == piece.npos) return;
      begin = border + 1;
      const int64_t position = end;
      end += std::ssize(line) + 1;
      use(line, position);
      line.clear();
    }
  });
  return end;
}

std::string entry_text(const JobState::Entry& entry, uint64_t digest) {
  char text[160];
  std::snprintf(text, sizeof text,
                "%016" PRIx64 "%016" PRIx64 " %016" PRIx64 " %" PRId64 " %s %" PRId64,
                entry.row.high, entry.row.low, digest, entry.place.index,
                entry.error ? "error" : "ok", entry.place.numbered);
  return text;
}

struct ReadEntry {
  JobState::Entry entry;
  uint64_t digest = 0;
};

std::optional<ReadEntry> parse_entry(const std::string& text) {
  ReadEntry read;
  char status[8] = {};
  if (std::sscanf(text.c_str(), "%16" SCNx64 "%16" SCNx64 " %16" SCNx64 " %" SCNd64 " %5s %" SCNd64,
                  &read.entry.row.high, &read.entry.row.low, &read.digest, &read.entry.place.index,
                  status, &read.entry.place.numbered) != 6)
    return std::nullopt;
  read.entry.error = std::strcmp(status, "ok") != 0;
  return read;
}

std::string with_place(const std::string& line, const RowPlace& place) {
  auto row = nlohmann::ordered_json::parse(line);
  row["index"] = place.index;
  if (place.numbered != 0) row["id"] = place.numbered;
  return row.dump();
}

// Whether with_place() can change the line.
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

constexpr const char* kWeights = "weights.dtype";
constexpr const char* kFingerprint = "the model's fingerprint";

// What people call the settings that are no keys of the run file, or not by their name there.
constexpr std::pair<std::string_view, const char*> kSettingNames[] = {
    {"model", kFingerprint},
    {"weights", kWeights},
    {"tokenizer", "the digest of the tokenizer"},
    {"eos_token_ids", "the model's EOS ids"},
    {"over_length", "job.over_length"},
    {"device", "device.type"},
    {"int8_activations", "device.int8_activations"},
    {"kv_dtype", "kv_cache.dtype"}};

using NamedValues = std::map<std::string, Json>;

NamedValues named_values(const Json& settings) {
  NamedValues values;
  for (const auto& [key, value] : settings.items()) {
    const auto* named =
        std::find_if(std::begin(kSettingNames), std::end(kSettingNames),
                     [&, &key = key](const auto& name) { return name.first == key; });
    const std::string name = named == std::end(kSettingNames) ? key : named->second;
    if (!value.is_object()) values[name] = value;
    if (value.is_object())
      for (const auto& [part, inner] : value.items()) values[name + "." + part] = inner;
  }
  return values;
}

std::string show_setting(const Json& value) {
  return value.is_null() ? "not set" : json_text(value);
}

bool of_scores(const Json& settings) {
  return settings.contains("purpose") && settings["purpose"] == "score";
}

// A new version of a file, put together line by line beside it and renamed over it.
class Rewrite {
 public:
  explicit Rewrite(const File& file) : file_(file), path_(file.path()) {}
  bool begun() const { return fresh_.fd() >= 0; }

  // From here on lines are written anew; what stands before `position` is taken over.
  void begin(int64_t position) {
    if (begun()) return;
    fresh_ = File::open(path_ + ".new", {.write = true});
    cut(fresh_, 0);
    read_pieces(file_, position, [this](std::string_view piece) {
      write_fully(fresh_, end_, reinterpret_cast<const std::byte*>(piece.data()),
                  std::ssize(piece));
      end_ += std::ssize(piece);
    });
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
    if (std::rename(fresh_.path().c_str(), path_.c_str()) != 0)
      throw IoError("cannot rename " + fresh_.path() + ": " + std::strerror(errno), errno);
  }

 private:
  const File& file_;
  const std::string path_;
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

void JobState::check(const Json& settings, bool resume) {
  if (!resume || !has_output()) return;
  KnownLines lines;
  const Json all = read_state(lines);
  Json known = Json::object();
  for (const auto& [key, value] : settings.items())
    if (all.contains(key)) known[key] = all[key];
  check_settings(known, settings);
}

void JobState::start_over(const Json& settings) {
  cut(output_, 0);
  cut(state_, 0);
  write_line(state_, state_end_, json_text(Json{{kHeaderKey, 1}, {"settings", settings}}));
}

Json JobState::read_state(KnownLines& known) {
  Json header;
  state_end_ = read_lines(state_, [&](const std::string& line, int64_t) {
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
  const std::string remedy = ": name another job.output, or replace it with job.resume: false";
  if (of_scores(known) != of_scores(settings))
    throw UsageError(path_ + " was made with other settings (it holds " +
                     (of_scores(known) ? "scores" : "generated rows") + ")" + remedy);
  NamedValues before = named_values(known), now = named_values(settings);
  if (before[kFingerprint] == now[kFingerprint]) before[kWeights] = now[kWeights];
  for (const auto& [name, value] : before) now.try_emplace(name);
  std::string changes;
  for (const auto& [name, value] : now) {
    if (before[name] == value) continue;
    changes += (changes.empty() ? "" : ", ") + name + " was " + show_setting(before[name]) +
               " and is " + show_setting(value);
  }
  if (!changes.empty())
    throw UsageError(path_ + " was made with other settings (" + changes + ")" + remedy);
}

ResumeSummary JobState::reconcile(const KnownLines& known, const std::optional<InputIndex>& input) {
  ResumeSummary summary;
  Rewrite rewrite(output_);
  const int64_t whole_lines = read_lines(output_, [&](std::string& line, int64_t position) {
    const auto found = known.find(digest_of(line));
    bool ours = found != known.end();
    const Entry entry = ours ? found->second : Entry{};
    const bool wanted = !input || input->contains(entry.row);
    const RowPlace place = input && wanted ? input->at(entry.row) : entry.place;
    ours = ours && (place == entry.place || is_row(line));
    if (ours && entry.error) {
      rewrite.begin(position);
      ++summary.redone;
    } else if (!ours || !wanted || !done_.insert(entry.row).second) {
      rewrite.begin(position);
      rewrite.move_aside(line);
      ++summary.moved_aside;
    } else {
      ++summary.kept;
      if (place != entry.place) {
        rewrite.begin(position);
        line = with_place(line, place);
        write_entry({.row = entry.row, .place = place}, line);
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
  check_named();
  write_entry(entry, line);
  write_line(output_, output_end_, line);
  if (std::chrono::steady_clock::now() - synced_ < kSyncInterval) return;
  sync();
  synced_ = std::chrono::steady_clock::now();
}

void JobState::for_each_line(const std::function<void(std::string_view line)>& use) const {
  read_lines(output_, [&](const std::string& line, int64_t) { use(line); });
}

// What is written to a file without a name is lost.
void JobState::check_named() const {
  for (const File* file : {&output_, &state_}) {
    struct stat info {};
    if (fstat(file->fd(), &info) != 0 || info.st_nlink == 0)
      throw IoError(file->path() + " was removed while the run was writing it", ENOENT);
  }
}

void JobState::sync() const {
  check_named();
  output_.sync();
  state_.sync();
}

}  // namespace zerostream
