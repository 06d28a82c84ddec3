#include "offload/trace_file.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "model/json.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

std::string partial_path(const std::string& path) {
  const bool special = std::filesystem::exists(path) && !std::filesystem::is_regular_file(path);
  return special ? path : path + ".partial";
}

// Nanoseconds as microseconds, without rounding.
std::string microseconds(int64_t ns) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", static_cast<double>(ns) / 1e3);
  return text;
}

std::string in_quotes(std::string_view text) { return json_text(Json(text)); }

}  // namespace

TraceFile::TraceFile(TraceFileOptions options)
    : options_(std::move(options)),
      partial_(partial_path(options_.path)),
      stream_(partial_, std::ios::binary | std::ios::trunc) {
  if (!stream_) throw IoError("cannot write " + partial_ + ": " + std::strerror(errno), errno);
  stream_ << "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n"
          << R"({"ph":"M","pid":1,"name":"process_name","args":{"name":"zerostream"}})";
}

TraceFile::~TraceFile() {
  try {
    finish();
  } catch (...) {  // the run has ended for another reason, which matters more
  }
}

void TraceFile::write(std::span<const TimelineSpan> spans) {
  for (const TimelineSpan& span : spans)
    if (spans_ < options_.max_spans)
      write_span(span);
    else
      ++left_out_;
}

void TraceFile::write_span(const TimelineSpan& span) {
  const int lane = lanes_.place(span);
  const int thread = 1 + static_cast<int>(span.track) * TrackLanes::kMaxLanes + lane;
  if (named_.insert(thread).second) name_thread(span, lane, thread);
  const std::string_view name = span.name[0] != 0 ? span.name : track_name(span.track);
  stream_ << ",\n{\"ph\":\"X\",\"pid\":1,\"tid\":" << thread << ",\"name\":" << in_quotes(name)
          << ",\"cat\":" << in_quotes(track_name(span.track))
          << ",\"ts\":" << microseconds(span.begin_ns - options_.origin_ns)
          << ",\"dur\":" << microseconds(span.end_ns - span.begin_ns) << '}';
  ++spans_;
}

void TraceFile::name_thread(const TimelineSpan& span, int lane, int thread) {
  std::string name(track_name(span.track));
  if (lane > 0) name.append(" ").append(std::to_string(lane + 1));
  const auto about = [&](const char* what, const std::string& value) {
    stream_ << ",\n{\"ph\":\"M\",\"pid\":1,\"tid\":" << thread << ",\"name\":\"" << what
            << "\",\"args\":{" << value << "}}";
  };
  about("thread_name", "\"name\":" + in_quotes(name));
  about("thread_sort_index", "\"sort_index\":" + std::to_string(thread));
}

std::string TraceFile::finish() {
  if (std::exchange(finished_, true)) return {};
  stream_ << "\n],\"otherData\":{\"left_out_spans\":" << left_out_ << "}}\n";
  stream_.close();
  std::error_code error;
  if (!stream_) error.assign(errno, std::generic_category());
  if (!error && partial_ != options_.path) std::filesystem::rename(partial_, options_.path, error);
  if (error) return "the trace " + options_.path + " could not be written: " + error.message();
  if (left_out_ == 0) return {};
  return "the trace holds the first " + std::to_string(spans_) + " spans; " +
         std::to_string(left_out_) + " later ones are left out";
}

}  // namespace zerostream
