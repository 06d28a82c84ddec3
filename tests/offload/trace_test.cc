// Traces, histories and windows: what is kept of a run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <random>
#include <set>

#include "offload/pass_windows.h"
#include "offload/run_history.h"
#include "offload/run_recorder.h"
#include "offload/trace_file.h"
#include "tests/offload/golden_case.h"
#include "tests/support/count_allocations.h"
#include "tests/support/temp_dir.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using testing::HasSubstr;

TimelineSpan span(Track track, const std::string& name, int64_t begin_us, int64_t end_us) {
  TimelineSpan span{.begin_ns = begin_us * 1000, .end_ns = end_us * 1000, .track = track};
  name.copy(span.name, sizeof span.name - 1);
  return span;
}

// Parses a trace and checks what holds of every one: threads have names, no two spans of a thread
// overlap. Returns the spans' events by the name of their thread.
std::map<std::string, std::vector<Json>> read_trace(const std::string& path) {
  const Json trace = Json::parse(read_file(path));
  std::map<int, std::string> threads;
  std::map<std::string, std::vector<Json>> spans;
  for (const Json& event : trace["traceEvents"])
    if (event["ph"] == "M" && event["name"] == "thread_name")
      threads[event["tid"]] = event["args"]["name"];
  for (const Json& event : trace["traceEvents"]) {
    if (event["ph"] != "X") continue;
    EXPECT_EQ(threads.count(event["tid"]), 1u);
    EXPECT_FALSE(event["name"].get<std::string>().empty());
    EXPECT_GE(event["dur"].get<double>(), 0);
    spans[threads[event["tid"]]].push_back(event);
  }
  for (auto& [thread, events] : spans) {
    std::sort(events.begin(), events.end(),
              [](const Json& a, const Json& b) { return a["ts"] < b["ts"]; });
    for (size_t i = 1; i < events.size(); ++i) {
      const double end = events[i - 1]["ts"].get<double>() + events[i - 1]["dur"].get<double>();
      EXPECT_GE(events[i]["ts"].get<double>() + 1e-6, end) << thread;
    }
  }
  return spans;
}

TEST(TraceFile, OneThreadPerTrackAndMoreForOverlaps) {
  const TempDir folder;
  TraceFile trace({.path = folder.file("t.json"), .origin_ns = 1000});
  const TimelineSpan spans[] = {span(Track::kRead, "a", 1, 4), span(Track::kRead, "b", 2, 5),
                                span(Track::kCompute, "qkv 0", 4, 6), span(Track::kRead, "c", 5, 7),
                                span(Track::kPass, "", 1, 8)};
  trace.write(spans);
  EXPECT_EQ(trace.finish(), "");
  auto events = read_trace(folder.file("t.json"));
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events["read"].size(), 2u);
  EXPECT_EQ(events["read 2"].size(), 1u);
  EXPECT_EQ(events["pass"][0]["name"], "pass") << "a span without a name has its track's";
  EXPECT_EQ(events["compute"][0]["ts"], 3.0);
  EXPECT_EQ(events["compute"][0]["dur"], 2.0);
}

TEST(TraceFile, RandomSpansNeverOverlapInAThread) {
  const TempDir folder;
  std::mt19937 random(1);
  std::vector<TimelineSpan> spans;
  for (int i = 0; i < 2000; ++i) {
    const auto begin = static_cast<int64_t>(random() % 100000);
    spans.push_back(span(static_cast<Track>(random() % kTracks), "x", begin,
                         begin + static_cast<int64_t>(random() % 300)));
  }
  std::sort(spans.begin(), spans.end(),
            [](const auto& a, const auto& b) { return a.end_ns < b.end_ns; });
  TraceFile trace({.path = folder.file("t.json")});
  trace.write(spans);
  trace.finish();
  size_t count = 0;
  for (const auto& [thread, events] : read_trace(folder.file("t.json"))) count += events.size();
  EXPECT_EQ(count, spans.size());
}

TEST(TraceFile, AwkwardNamesAreStillJson) {
  const TempDir folder;
  {
    TraceFile trace({.path = folder.file("t.json")});
    const TimelineSpan spans[] = {span(Track::kRead, "\"\\\n", 0, 1),
                                  span(Track::kRead, std::string(45, 'x') + "\xc3\xa9", 1, 2)};
    trace.write(spans);
    EXPECT_FALSE(std::filesystem::exists(folder.file("t.json"))) << "not before it is whole";
  }  // finished by the destructor
  EXPECT_EQ(read_trace(folder.file("t.json"))["read"][0]["name"], "\"\\\n");
  EXPECT_FALSE(std::filesystem::exists(folder.file("t.json.partial")));
}

TEST(TraceFile, CountsWhatItLeavesOut) {
  const TempDir folder;
  TraceFile trace({.path = folder.file("t.json"), .max_spans = 2});
  const std::vector<TimelineSpan> spans(5, span(Track::kWait, "w", 0, 0));
  trace.write(spans);
  EXPECT_EQ(trace.finish(), "the trace holds the first 2 spans; 3 later ones are left out");
  EXPECT_EQ(read_trace(folder.file("t.json"))["wait"].size(), 2u);
}

TEST(TraceFile, ErrorsDoNotEndTheRun) {
  const TempDir folder;
  EXPECT_THROW(TraceFile({.path = folder.file("none/t.json")}), IoError);
  TraceFile full({.path = "/dev/full"});
  full.write(std::vector<TimelineSpan>(5000, span(Track::kWait, "w", 0, 0)));
  EXPECT_THAT(full.finish(), HasSubstr("No space left on device"));
}

RunStatistics statistics_after(int64_t pass) {
  RunStatistics s;
  s.prefill_passes = std::min<int64_t>(pass, 2);
  s.decode_passes = pass - s.prefill_passes;
  s.prefill_seconds = 0.5 * static_cast<double>(s.prefill_passes);
  s.decode_seconds = 0.25 * static_cast<double>(s.decode_passes);
  s.prompt_tokens = 100 * s.prefill_passes;
  s.generated_tokens = 3 * pass;
  s.rows_active = pass % 2 == 0 ? 8 : 4;
  s.stall_weights_seconds = 0.125 * static_cast<double>(pass);
  s.bytes_read = 1000 * pass;
  return s;
}

// The sum of a column.
double sum(const Json& history, const std::string& column) {
  const auto& columns = history["columns"];
  const auto at = std::find(columns.begin(), columns.end(), column) - columns.begin();
  double sum = 0;
  for (const Json& point : history["points"]) sum += point[at].get<double>();
  return sum;
}

TEST(RunHistory, SumsAreExactHoweverLongTheRun) {
  for (const int passes : {1, 7, 10, 11, 12, 39, 40, 41, 1000, 12345}) {
    RunHistory history(10);
    const int64_t before = allocations();
    for (int pass = 1; pass <= passes; ++pass) {
      const RunStatistics statistics = statistics_after(pass);
      history.add(statistics,
                  10 + statistics.prefill_seconds + statistics.decode_seconds);  // 10 s of loading
    }
    EXPECT_EQ(allocations(), before);
    const Json json = history.json();
    const RunStatistics all = statistics_after(passes);
    EXPECT_LE(json["points"].size(), 11u);
    EXPECT_GE(json["points"].size(), std::min(passes, 5));
    EXPECT_EQ(sum(json, "prefill_passes") + sum(json, "decode_passes"), passes);
    EXPECT_EQ(sum(json, "prompt_tokens"), all.prompt_tokens);
    EXPECT_EQ(sum(json, "generated_tokens"), all.generated_tokens);
    EXPECT_EQ(sum(json, "bytes_read"), all.bytes_read);
    EXPECT_EQ(sum(json, "seconds"), all.prefill_seconds + all.decode_seconds);
    EXPECT_EQ(sum(json, "wait_weights_seconds"), all.stall_weights_seconds);
    EXPECT_EQ(json["points"][0][0], 10.0);
    EXPECT_EQ(json["decode_generated_tokens"], 3 * all.decode_passes);
  }
}

TEST(RunHistory, RowsAreTheMeanOfTheMergedPasses) {
  RunHistory history(2);
  for (int pass = 1; pass <= 4; ++pass) history.add(statistics_after(pass), pass);
  const Json points = history.json()["points"];
  ASSERT_EQ(points.size(), 2u);
  EXPECT_EQ(points[0][7], 6.0);
  EXPECT_EQ(points[1][7], 6.0);
}

std::vector<int64_t> first_passes(const PassWindows& windows) {
  std::vector<int64_t> firsts;
  const Json json = windows.json(0);
  for (const Json& window : json["windows"]) firsts.push_back(window["first_pass"]);
  return firsts;
}

TEST(PassWindows, KeepTheFirstPassesAndSomeFromTheMiddle) {
  PassWindows windows;
  EXPECT_TRUE(first_passes(windows).empty());
  std::map<int64_t, std::vector<int64_t>> expected = {{1, {1}},    {3, {1}},     {4, {1, 4}},
                                                      {8, {1, 4}}, {10, {1, 8}}, {100, {1, 64}}};
  for (int64_t pass = 1; pass <= 100; ++pass) {
    const TimelineSpan spans[] = {
        span(Track::kPass, "pass " + std::to_string(pass), pass, pass + 1)};
    windows.add(spans, statistics_after(pass));
    if (expected.count(pass)) {
      EXPECT_EQ(first_passes(windows), expected[pass]) << pass;
    }
  }
  const Json middle = windows.json(0)["windows"][1];
  EXPECT_EQ(middle["passes"], 3);
  EXPECT_EQ(middle["names"], (Json{"pass 64", "pass 65", "pass 66"}));
  EXPECT_EQ(middle["begin_seconds"], 64e-6);
  EXPECT_EQ(middle["spans"][1], (Json{0, 0, 1.0, 1.0, 1}));
}

TEST(PassWindows, KeepTheFirstThatOnlyDecode) {
  PassWindows windows;
  RunStatistics statistics;
  for (int pass = 1; pass <= 7; ++pass) {
    ++(pass <= 5 ? statistics.prefill_passes : statistics.decode_passes);
    windows.add({}, statistics);
  }
  EXPECT_EQ(first_passes(windows), (std::vector<int64_t>{1, 4}));
  for (int pass = 8; pass <= 12; ++pass) {
    ++statistics.decode_passes;
    windows.add({}, statistics);
  }
  EXPECT_EQ(first_passes(windows), (std::vector<int64_t>{1, 8}));
}

TEST(PassWindows, AreBounded) {
  PassWindows windows(10);
  const std::vector<TimelineSpan> spans(8, span(Track::kRead, "r", 0, 1));
  const int64_t before = allocations();
  for (int pass = 1; pass <= 3; ++pass) windows.add(spans, statistics_after(pass));
  EXPECT_EQ(allocations(), before);
  const Json window = windows.json(0)["windows"][0];
  EXPECT_EQ(window["spans"].size(), 10u);
  EXPECT_EQ(window["left_out"], 14);
}

// A whole run on a tiny model that streams.
TEST(RunRecorder, TellsWhatARunDid) {
  const TempDir folder;
  GoldenModel model(golden_path("llama3"), DType::kF32);
  RunRecorder recorder(folder.file("t.json"));
  RuntimeOptions options = tiny_options();
  options.timeline = recorder.timeline();
  std::vector<GenerationRequest> requests(3);
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i].handle = i;
    requests[i].prompt_tokens = {1, 2, 3};
    requests[i].max_new_tokens = 6;
  }
  RunStatistics statistics;
  std::vector<bool> resident;
  {
    Generator generator(model.store(), model.device(), model.kernels(), nullptr, options);
    size_t next = 0;
    const GenerationClient client{
        .next =
            [&](bool) {
              return next < requests.size() ? std::optional(requests[next++]) : std::nullopt;
            },
        .on_token = {},
        .on_result = [](GenerationResult) {},
        .cancelled = {},
        .on_pass = [&](const RunStatistics& now) { recorder.on_pass(now); }};
    generator.run(client, false);
    statistics = generator.statistics();
    resident = generator.plan().resident;
  }
  EXPECT_TRUE(recorder.finish().empty());
  const int64_t passes = statistics.prefill_passes + statistics.decode_passes;
  EXPECT_EQ(sum(recorder.history(), "generated_tokens"), statistics.generated_tokens);
  EXPECT_EQ(sum(recorder.history(), "bytes_read"), statistics.bytes_read);

  auto events = read_trace(folder.file("t.json"));
  ASSERT_EQ(std::ssize(events["pass"]), passes);
  EXPECT_THAT(events["pass"][0]["name"].get<std::string>(), HasSubstr("pass 1: 9 tokens, 3 rows"));
  std::map<std::string, int64_t> steps;
  double waited = 0;
  for (const Json& event : events["compute"]) ++steps[event["name"]];
  for (const Json& event : events["wait"]) waited += 1e-6 * event["dur"].get<double>();
  for (const char* step : {"embed", "qkv 0", "attention 1", "mlp_down 1", "sample"})
    EXPECT_EQ(steps[step], passes) << step;
  EXPECT_NEAR(waited, statistics.stall_weights_seconds, 1e-3);
  std::set<std::string> read;
  for (const auto& [thread, spans] : events)
    for (const Json& event : spans)
      if (event["cat"] == "read") read.insert(event["name"]);
  const auto& segments = model.store().segments();
  for (size_t i = 0; i < segments.size(); ++i)
    EXPECT_EQ(read.count(segments[i].name), resident[i] || is_embedding(segments[i]) ? 0u : 1u)
        << segments[i].name;
  EXPECT_EQ(recorder.windows()["windows"][0]["passes"], 3);
}

}  // namespace
}  // namespace zerostream
