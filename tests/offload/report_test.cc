#include "offload/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using testing::HasSubstr;

ReportFacts facts() {
  ReportFacts facts;
  facts.rows_ok = 7;
  facts.rows_failed = 1;
  facts.total_seconds = 12;
  RunStatistics& s = facts.statistics;
  s.prompt_tokens = 100;
  s.generated_tokens = 50;
  s.reused_tokens = 30;
  s.paused_rows = 2;
  s.prefill_seconds = 2;
  s.decode_seconds = 8;
  s.bytes_read = 6'000'000'000;
  s.reading_seconds = 3;
  s.flops = 5e9;
  s.io_engine = "io_uring";
  s.pools = {{"slots", 64}, {"kv cache", 128}};
  return facts;
}

TEST(Report, RatesAreOfThePasses) {
  const Json report = make_report(facts());
  EXPECT_EQ(report["tokens_per_second"]["generated"], 5.0);
  EXPECT_EQ(report["tokens_per_second"]["processed"], 15.0);
  EXPECT_EQ(report["io"]["gigabytes_per_second"], 2.0);
  EXPECT_EQ(report["compute"]["gigaflops_per_second"], 0.5);
  EXPECT_EQ(report["memory"]["pools"]["kv cache"], 128);
  EXPECT_EQ(report["rows"], (Json{{"ok", 7}, {"failed", 1}, {"kept", 0}, {"paused", 2}}));
  EXPECT_EQ(report["tokens"], (Json{{"prompt", 100}, {"generated", 50}, {"reused", 30}}));
}

TEST(Report, BoundIsWhatThePassesWaitedFor) {
  ReportFacts waiting = facts();
  EXPECT_EQ(make_report(waiting)["bound"], "compute");
  waiting.statistics.stall_weights_seconds = 4;
  EXPECT_EQ(make_report(waiting)["bound"], "fetch");
}

TEST(Report, NothingDoneIsNoDivisionByZero) {
  const Json report = make_report({});
  EXPECT_EQ(report["tokens_per_second"]["generated"], 0.0);
  EXPECT_EQ(summarise_report(report), "rows: 0 ok, 0 failed");
}

TEST(Report, SummaryTellsPeople) {
  const std::string summary = summarise_report(make_report(facts()));
  EXPECT_THAT(summary, HasSubstr("rows: 7 ok, 1 failed\n"));
  EXPECT_THAT(summary, HasSubstr("10.0 s in passes): 5.0 generated/s"));
  EXPECT_THAT(summary, HasSubstr("by io_uring"));
  EXPECT_THAT(summary, HasSubstr("bound by compute"));
}

TEST(Report, IsWrittenWhole) {
  const TempDir folder;
  const std::string path = folder.file("r.json");
  write_file(path, std::string(100000, 'x'));
  write_report({{"a", 1}}, path);
  EXPECT_EQ(Json::parse(read_file(path)), (Json{{"a", 1}}));
  EXPECT_THROW(write_report({}, folder.file("none/r.json")), IoError);
}

}  // namespace
}  // namespace zerostream
