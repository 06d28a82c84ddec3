#include "offload/report_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "offload/html.h"
#include "offload/report.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using testing::HasSubstr;
using testing::Not;

Json report() {
  ReportFacts facts;
  facts.model = {{"path", "models/opt-125m/"}, {"dtype", "bf16"}};
  facts.config = {{"host", {{"memory", int64_t{6} << 30}}}, {"nvme", {{"queue_depth", 16}}}};
  facts.rows_ok = 1234;
  facts.total_seconds = 130;
  RunStatistics& s = facts.statistics;
  s.prompt_tokens = 100;
  s.generated_tokens = 4096;
  s.prefill_seconds = 20;
  s.decode_seconds = 100;
  s.stall_weights_seconds = 60;
  s.bytes_read = 1;
  s.pools = {{"slots", int64_t{1} << 30}, {"kv cache", int64_t{2} << 30}};
  s.notes = {"direct I/O is not used"};
  facts.history = {
      {"columns", {"seconds"}}, {"points", Json::array()}, {"decode_generated_tokens", 4000}};
  return make_report(facts);
}

// The page without its charts' script and data.
std::string text_of(const std::string& page) { return page.substr(0, page.find("<script")); }

TEST(ReportPage, HasTheFiguresWithoutScripts) {
  const std::string page = text_of(report_page(report(), "r.json"));
  EXPECT_THAT(page, HasSubstr("<title>opt-125m - zerostream run</title>"));
  EXPECT_THAT(page, HasSubstr("4,096 tokens for 1,234 rows in 2 min 10 s."));
  EXPECT_THAT(page, HasSubstr("Bound by <b>fetch</b>"));
  EXPECT_THAT(page, HasSubstr("<b>34.1</b><span>tokens/s generated"));
  EXPECT_THAT(page, HasSubstr("<b>50.0 %</b>"));
  EXPECT_THAT(page, HasSubstr("2.00 GiB <span class=\"soft\">33 %</span>"));
  EXPECT_THAT(page, HasSubstr("queue_depth"));
  EXPECT_THAT(page, HasSubstr("direct I/O is not used"));
  EXPECT_THAT(page, Not(HasSubstr("{{")));
  EXPECT_THAT(page, Not(HasSubstr("Predicted")));
}

TEST(ReportPage, OfScores) {
  Json scores = report();
  scores["score"] = {{"tokens", 5}, {"sum_logprob", -7.0}, {"perplexity", 4.0552}};
  scores["rows"]["ok"] = 1;
  const std::string page = text_of(report_page(scores, "r.json"));
  EXPECT_THAT(page, HasSubstr("<title>opt-125m - zerostream score</title>"));
  EXPECT_THAT(page, HasSubstr("5 tokens scored, perplexity 4.06; 1 row in 2 min 10 s."));
  EXPECT_THAT(page, HasSubstr("<b>4.06</b><span>perplexity"));
  EXPECT_THAT(page, HasSubstr("scored tokens"));
  EXPECT_THAT(page, Not(HasSubstr("tokens/s generated")));
}

TEST(ReportPage, NeedsNothingFromElsewhere) {
  const std::string page = report_page(report(), "r.json");
  for (const char* outside : {"src=", "href=", "@import", "url(", "fetch("})
    EXPECT_THAT(page, Not(HasSubstr(outside)));
  std::string without = page;
  const std::string space = "http://www.w3.org/2000/svg";  // a name, not an address
  without.erase(without.find(space), space.size());
  EXPECT_THAT(without, Not(HasSubstr("://")));
}

TEST(ReportPage, PredictionStandsBesideTheMeasurement) {
  Json with = report();
  with["predicted"] = {
      {"decode_tokens_per_second", 50.0}, {"total_seconds", 100}, {"bound", "fetch"}};
  const std::string page = text_of(report_page(with, "r.json"));
  EXPECT_THAT(page, HasSubstr("Predicted against measured"));
  EXPECT_THAT(page,
              HasSubstr(">50.0</td><td class=\"number\">40.0</td><td class=\"number\">0.800<"));
  EXPECT_THAT(page, HasSubstr("predicted fetch, measured fetch"));
}

TEST(ReportPage, NothingInAReportIsMarkup) {
  const std::string evil = "</script><script>alert('\"&')</script><!--{{body}}{{data}}";
  Json bad = report();
  bad["model"] = {{"path", evil}, {"dtype", evil}, {"device", evil}, {"store", evil}};
  bad["bound"] = evil;
  bad["config"][evil] = {{evil, evil}};
  bad["memory"]["pools"][evil] = 5;
  bad["io"]["engine"] = evil;
  bad["notes"] = {evil};
  bad["predicted"] = {{"bound", evil}};
  bad["timeline"] = {{"tracks", {evil}}};
  bad["history"][evil] = evil;
  const std::string page = report_page(bad, "r.json");
  EXPECT_THAT(page, Not(HasSubstr("<script>alert")));
  EXPECT_THAT(page, Not(HasSubstr("<!--")));
  EXPECT_THAT(page, HasSubstr("&lt;/script&gt;&lt;script&gt;alert(&#39;&quot;&amp;&#39;)"));
  size_t scripts = 0;
  for (size_t at = 0; (at = page.find("</script>", at)) != std::string::npos; ++at) ++scripts;
  EXPECT_EQ(scripts, 2u);
  const size_t data = page.find("id=\"data\">") + 10;
  const Json read = Json::parse(page.substr(data, page.find("</script>", data) - data));
  EXPECT_EQ(read["timeline"]["tracks"][0], evil);
}

TEST(ReportPage, OddReports) {
  for (const Json& foreign : {Json(), Json(3), Json::array({1}), Json::object(), Json{{"rows", 1}},
                              Json{{"rows", nullptr}}})
    EXPECT_THROW(report_page(foreign, "r.json"), UsageError);
  Json bare;
  for (const char* part : {"rows", "tokens", "seconds", "passes", "weights", "memory"})
    bare[part] = Json::object();
  EXPECT_THAT(report_page(bare, "r.json"), HasSubstr("A run"));
  Json wrong = report();
  wrong["seconds"]["total"] = "long";
  wrong["memory"]["pools"] = {{"a", "b"}, {"c", 1e300}, {"d", -5}};
  wrong["notes"] = {1, Json::array()};
  wrong["config"] = {{"a", 1}};
  EXPECT_THAT(report_page(wrong, "r.json"), HasSubstr("</html>"));
}

TEST(Html, Figures) {
  EXPECT_EQ(show_figure(0), "0");
  EXPECT_EQ(show_figure(0.12345), "0.123");
  EXPECT_EQ(show_figure(9.999), "10.0");
  EXPECT_EQ(show_figure(99.96), "100");
  EXPECT_EQ(show_figure(1234567.4), "1,234,567");
  EXPECT_EQ(show_figure(-1234), "-1,234");
  EXPECT_EQ(show_seconds(0.0215), "21.5 ms");
  EXPECT_EQ(show_seconds(12.34), "12.3 s");
  EXPECT_EQ(show_seconds(125), "2 min 05 s");
  EXPECT_EQ(show_seconds(3 * 3600 + 20 * 60), "3 h 20 min");
  EXPECT_EQ(escape_html("<a b='c'>&\""), "&lt;a b=&#39;c&#39;&gt;&amp;&quot;");
}

}  // namespace
}  // namespace zerostream
