#include "offload/report_page.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "base/bytes.h"
#include "offload/html.h"
#include "offload/report_page_template.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using Rows = std::vector<std::pair<std::string, std::string>>;

constexpr const char* kColours[] = {"--compute", "--read", "--kvread", "--copy",
                                    "--kvwrite", "--wait", "--pass"};

// Values of a report that may lack some, or have others of another type.
class Values {
 public:
  explicit Values(const Json& report) : report_(report) {}
  const Json* find(const std::string& pointer) const {
    const Json::json_pointer at(pointer);
    return report_.contains(at) ? &report_.at(at) : nullptr;
  }
  bool has(const std::string& pointer) const {
    const Json* value = find(pointer);
    return value != nullptr && value->is_number();
  }
  double number(const std::string& pointer) const {
    return has(pointer) ? find(pointer)->get<double>() : 0;
  }
  std::string text(const std::string& pointer) const {
    const Json* value = find(pointer);
    return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
  }
  std::string figure(const std::string& pointer) const { return show_figure(number(pointer)); }
  std::string count(const std::string& pointer) const { return show_count(number(pointer)); }

 private:
  const Json& report_;
};

std::string bytes_text(double bytes) {
  return format_bytes(static_cast<int64_t>(std::clamp(bytes, 0.0, 9e18)));
}

std::string percent(double share) { return show_figure(100 * share) + " %"; }

double ratio(double amount, double whole) { return whole > 0 ? amount / whole : 0; }

double pass_seconds(const Values& v) {
  return v.number("/seconds/prefill") + v.number("/seconds/decode");
}

double waiting_seconds(const Values& v) {
  return v.number("/stall_seconds/weights") + v.number("/stall_seconds/kv");
}

std::string section(const std::string& title, const std::string& content) {
  return "<section>\n<h2>" + title + "</h2>\n" + content + "</section>\n";
}

// A section that a script fills.
std::string chart(const std::string& id, const std::string& title, const std::string& about) {
  return "<section id=\"" + id + "\" hidden>\n<h2>" + title + "</h2>\n<p class=\"soft\">" + about +
         "</p>\n<div class=\"tabs\"></div>\n<div class=\"plot\"></div>\n</section>\n";
}

std::string model_name(const Values& v) {
  std::filesystem::path path(v.text("/model/path"));
  if (!path.has_filename()) path = path.parent_path();
  return path.empty() ? "A run" : path.filename().string();
}

std::string bound_sentence(const Values& v) {
  const std::string bound = v.text("/bound");
  const std::string waited = percent(ratio(waiting_seconds(v), pass_seconds(v)));
  const std::string idle =
      " the device waited for weights and KV for " + waited + " of the passes&#39; time.";
  if (bound == "fetch") return "Bound by <b>fetch</b>, the reading of weights and KV:" + idle;
  if (bound == "compute") return "Bound by <b>compute</b>:" + idle;
  if (bound == "copy") return "Bound by <b>copy</b>, from host memory to the device:" + idle;
  return bound.empty() ? "" : "Bound by <b>" + escape_html(bound) + "</b>.";
}

bool scored(const Values& v) {
  const Json* score = v.find("/score");
  return score != nullptr && score->is_object();
}

std::string counted(const Values& v, const std::string& pointer, const std::string& noun) {
  return v.count(pointer) + " " + noun + (v.number(pointer) == 1 ? "" : "s");
}

std::string header(const Values& v) {
  std::string about;
  for (const char* pointer :
       {"/model/model_type", "/model/dtype", "/model/device", "/model/store"}) {
    const std::string text = v.text(pointer);
    if (!text.empty()) about += (about.empty() ? "" : " · ") + escape_html(text);
  }
  std::string verdict = scored(v) ? counted(v, "/score/tokens", "token") + " scored, perplexity " +
                                        v.figure("/score/perplexity") + "; "
                                  : counted(v, "/tokens/generated", "token") + " for ";
  verdict +=
      counted(v, "/rows/ok", "row") + " in " + show_seconds(v.number("/seconds/total")) + ". ";
  if (const Json* stopped = v.find("/stopped"); stopped != nullptr && *stopped == true)
    verdict += "The run was stopped by a signal. ";
  return "<h1>" + escape_html(model_name(v)) + "</h1>\n<div class=\"soft\">" + about +
         "</div>\n<p class=\"verdict\">" + verdict + bound_sentence(v) + "</p>\n";
}

std::string tiles(const Values& v) {
  std::string html = "<div class=\"tiles\">\n";
  const auto tile = [&](const std::string& value, const std::string& what) {
    html += "<div class=\"tile\"><b>" + value + "</b><span>" + what + "</span></div>\n";
  };
  if (scored(v))
    tile(v.figure("/score/perplexity"), "perplexity");
  else
    tile(v.figure("/tokens_per_second/generated"), "tokens/s generated");
  tile(v.figure("/tokens_per_second/processed"), "tokens/s, prompts included");
  tile(show_seconds(v.number("/seconds/total")), "in all");
  tile(percent(ratio(waiting_seconds(v), pass_seconds(v))), "of the passes spent waiting");
  if (v.number("/io/bytes_read") > 0)
    tile(v.figure("/io/gigabytes_per_second") + " GB/s", "read while reading");
  tile(v.figure("/compute/gigaflops_per_second"), "GFLOP/s in passes");
  if (v.number("/rows/failed") > 0) tile(v.count("/rows/failed"), "rows failed");
  return html + "</div>\n";
}

std::string time_section(const Values& v) {
  const double total = v.number("/seconds/total"), load = v.number("/seconds/load");
  const double weights = v.number("/stall_seconds/weights"), kv = v.number("/stall_seconds/kv");
  const double compute = std::max(0.0, pass_seconds(v) - weights - kv);
  const double known = load + weights + kv + compute;
  std::vector<BarPart> parts = {{"computing", compute, "", "--compute"},
                                {"waiting for weights", weights, "", "--wait"},
                                {"waiting for KV", kv, "", "--kvread"},
                                {"loading resident weights", load, "", "--read"},
                                {"all else", std::max(0.0, total - known), "", "--rest"}};
  for (BarPart& part : parts) part.shown = show_seconds(part.amount);
  return section("Where the time went",
                 html_bar(parts, std::max(total, known), {{"in all", show_seconds(total)}}));
}

std::string memory_section(const Values& v) {
  std::vector<BarPart> parts;
  if (const Json* pools = v.find("/memory/pools"); pools != nullptr && pools->is_object())
    for (const auto& [name, bytes] : pools->items())
      if (bytes.is_number())
        parts.push_back({name, bytes.get<double>(), bytes_text(bytes.get<double>()), ""});
  std::stable_sort(parts.begin(), parts.end(),
                   [](const BarPart& a, const BarPart& b) { return a.amount > b.amount; });
  double sum = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    parts[i].colour = kColours[i % std::size(kColours)];
    sum += parts[i].amount;
  }
  Rows rows = {{"all pools", bytes_text(sum)}};
  const double limit = v.number("/config/host/memory");
  if (limit > 0) rows.emplace_back("host.memory, what they may take", bytes_text(limit));
  if (v.has("/memory/peak_rss"))
    rows.emplace_back("the process at its peak", bytes_text(v.number("/memory/peak_rss")));
  return section("Memory", html_bar(parts, std::max(limit, sum), rows));
}

// Tokens per second of passes that only decoded, where the history has such.
std::optional<double> decode_rate(const Values& v) {
  if (!v.has("/history/decode_generated_tokens")) return std::nullopt;
  const double seconds = v.number("/seconds/decode");
  if (seconds <= 0) return std::nullopt;
  return v.number("/history/decode_generated_tokens") / seconds;
}

std::string prediction_section(const Values& v) {
  const Json* predicted = v.find("/predicted");
  if (predicted == nullptr || !predicted->is_object()) return {};
  std::string html =
      "<table>\n<thead><tr><th></th><th class=\"number\">predicted</th><th "
      "class=\"number\">measured"
      "</th><th class=\"number\">measured ÷ predicted</th></tr></thead>\n";
  const auto row = [&](const std::string& name, double wanted, std::optional<double> got) {
    html += "<tr><th scope=\"row\">" + name + "</th><td class=\"number\">" + show_figure(wanted) +
            "</td><td class=\"number\">" + (got ? show_figure(*got) : "-") +
            "</td><td class=\"number\">" + (got && wanted > 0 ? show_figure(*got / wanted) : "-") +
            "</td></tr>\n";
  };
  const double prefill = v.number("/seconds/prefill");
  if (v.has("/predicted/decode_tokens_per_second"))
    row("decode, tokens/s", v.number("/predicted/decode_tokens_per_second"), decode_rate(v));
  if (v.has("/predicted/prefill_tokens_per_second"))
    row("prefill, prompt tokens/s", v.number("/predicted/prefill_tokens_per_second"),
        prefill > 0 ? std::optional(v.number("/tokens/prompt") / prefill) : std::nullopt);
  if (v.has("/predicted/total_seconds"))
    row("time in all, s", v.number("/predicted/total_seconds"), v.number("/seconds/total"));
  html += "</table>\n";
  if (const std::string bound = v.text("/predicted/bound"); !bound.empty())
    html += "<p class=\"soft\">Bound: predicted " + escape_html(bound) + ", measured " +
            escape_html(v.text("/bound")) + ".</p>\n";
  return section("Predicted against measured", html);
}

std::string figures_section(const Values& v) {
  const auto bytes = [&](const char* pointer) { return bytes_text(v.number(pointer)); };
  const Json* direct = v.find("/io/direct");
  Rows rows = {{"rows finished", v.count("/rows/ok")},
               {"rows failed", v.count("/rows/failed")},
               {"rows kept from earlier runs", v.count("/rows/kept")},
               {"prompt tokens", v.count("/tokens/prompt")},
               {"generated tokens", v.count("/tokens/generated")},
               {"passes with prompts", v.count("/passes/prefill")},
               {"time of these", show_seconds(v.number("/seconds/prefill"))},
               {"passes that only decode", v.count("/passes/decode")},
               {"time of these", show_seconds(v.number("/seconds/decode"))}};
  if (scored(v)) {
    rows.emplace_back("scored tokens, of all rows", v.count("/score/tokens"));
    rows.emplace_back("their perplexity", v.figure("/score/perplexity"));
  }
  if (const auto rate = decode_rate(v)) rows.emplace_back("tokens/s of these", show_figure(*rate));
  Rows more = {{"weights", bytes("/weights/bytes")},
               {"resident", bytes("/weights/resident_bytes")},
               {"streamed in each pass", bytes("/weights/streamed_bytes_per_pass")},
               {"read during passes", bytes("/io/bytes_read")},
               {"I/O engine", v.text("/io/engine")},
               {"direct I/O", direct != nullptr && *direct == true ? "yes" : "no"},
               {"read rate", v.figure("/io/gigabytes_per_second") + " GB/s"}};
  if (v.has("/io/ceiling_gigabytes_per_second"))
    more.emplace_back("ceiling of it, probed",
                      v.figure("/io/ceiling_gigabytes_per_second") + " GB/s");
  return "<div class=\"pair\">\n" + section("Rows, tokens, passes", html_table(rows)) +
         section("Weights and reads", html_table(more)) + "</div>\n";
}

std::string config_value(const std::string& key, const Json& value) {
  const bool size = key == "memory" || key == "block_size";
  if (size && value.is_number()) return bytes_text(value.get<double>());
  if (value.is_string()) return value.get<std::string>();
  return value.is_null() ? "none" : json_text(value);
}

std::string config_section(const Values& v) {
  const Json* config = v.find("/config");
  if (config == nullptr || !config->is_object()) return {};
  std::string html = "<div class=\"config\">\n";
  for (const auto& [name, keys] : config->items()) {
    if (!keys.is_object()) continue;
    Rows rows;
    for (const auto& [key, value] : keys.items()) rows.emplace_back(key, config_value(key, value));
    html += "<div><h3>" + escape_html(name) + "</h3>\n" + html_table(rows) + "</div>\n";
  }
  return section("Configuration, as resolved", html + "</div>\n");
}

std::string notes_section(const Values& v) {
  const Json* notes = v.find("/notes");
  if (notes == nullptr || !notes->is_array() || notes->empty()) return {};
  std::string html = "<ul>\n";
  for (const Json& note : *notes)
    html +=
        "<li>" + escape_html(note.is_string() ? note.get<std::string>() : note.dump()) + "</li>\n";
  return section("Notes", html + "</ul>\n");
}

std::string body(const Values& v) {
  return header(v) + tiles(v) + "<div class=\"pair\">\n" + time_section(v) + memory_section(v) +
         "</div>\n" + prediction_section(v) +
         chart("timeline", "A few passes",
               "What each part of the machine did. Reads of later layers run below the computing "
               "of earlier ones; where compute is empty, it waits.") +
         chart("history", "Over time", "Each step is one pass, or several of a long run.") +
         figures_section(v) + config_section(v) + notes_section(v);
}

Json chart_data(const Values& v) {
  Json data = Json::object();
  for (const char* part : {"timeline", "history"})
    if (const Json* found = v.find(std::string("/") + part)) data[part] = *found;
  return data;
}

void replace(std::string& page, std::string_view mark, const std::string& text) {
  page.replace(page.find(mark), mark.size(), text);
}

void check_report(const Json& report, const std::string& source) {
  for (const char* part : {"rows", "tokens", "seconds", "passes", "weights", "memory"})
    if (!report.is_object() || !report.contains(part) || !report[part].is_object())
      throw UsageError(source + ": no report of zerostream run: \"" + part + "\" is missing");
}

}  // namespace

std::string report_page(const Json& report, const std::string& source) {
  check_report(report, source);
  const Values values(report);
  std::string page(kReportPageTemplate);
  // From the last to the first, so that a mark in what was put in is never taken for one.
  replace(page, "{{data}}", script_json(chart_data(values)));
  replace(page, "{{body}}", body(values));
  replace(page, "{{title}}",
          escape_html(model_name(values) +
                      (scored(values) ? " - zerostream score" : " - zerostream run")));
  return page;
}

}  // namespace zerostream
