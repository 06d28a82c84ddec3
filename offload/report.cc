#include "offload/report.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include "base/bytes.h"
#include "base/printf_text.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

// Above this share of the passes' time spent waiting for weights, reading them is what limits.
constexpr double kFetchBoundShare = 0.05;

double ratio(double amount, double seconds) { return seconds > 0 ? amount / seconds : 0; }

Json pools_json(const std::vector<PoolBytes>& pools) {
  Json json = Json::object();
  for (const PoolBytes& pool : pools) json[pool.name] = pool.bytes;
  return json;
}

// Host memory is the device's where it has none of its own.
Json tiers_json(const RunStatistics& s) {
  const int64_t host = s.own_memory ? s.host_bytes : s.resident_bytes;
  const int64_t device = s.own_memory ? s.resident_bytes : 0;
  return {{"device", device}, {"host", host}, {"nvme", s.weights_bytes - device - host}};
}

Json memory_json(const ReportFacts& facts) {
  const RunStatistics& s = facts.statistics;
  Json memory = {{"pools", pools_json(s.pools)}, {"peak_rss", facts.peak_resident_bytes}};
  if (s.own_memory) memory["host_pools"] = pools_json(s.host_pools);
  return memory;
}

// Indented for people, but the long lists of numbers, which are for programs.
std::string report_text(const Json& report) {
  if (!report.is_object() || report.empty()) return json_text(report) + "\n";
  std::string lines;
  for (const auto& [key, value] : report.items()) {
    const int indent = key == "history" || key == "timeline" ? -1 : 2;
    lines += lines.empty() ? "{\n  " : ",\n  ";
    lines += json_text(Json(key)) + ": ";
    for (const char c : json_text(value, indent))
      lines += c == '\n' ? std::string("\n  ") : std::string(1, c);
  }
  return lines + "\n}\n";
}

}  // namespace

Json make_report(const ReportFacts& facts) {
  const RunStatistics& s = facts.statistics;
  const double passes = s.prefill_seconds + s.decode_seconds;
  const auto processed = static_cast<double>(s.prompt_tokens + s.generated_tokens);
  const bool fetch = s.stall_weights_seconds > kFetchBoundShare * passes;
  Json report = {
      {"model", facts.model},
      {"config", facts.config},
      {"rows",
       {{"ok", facts.rows_ok},
        {"failed", facts.rows_failed},
        {"kept", facts.rows_kept},
        {"paused", s.paused_rows}}},
      {"stopped", facts.stopped},
      {"tokens",
       {{"prompt", s.prompt_tokens},
        {"generated", s.generated_tokens},
        {"reused", s.reused_tokens}}},
      {"seconds",
       {{"load", s.load_seconds},
        {"total", facts.total_seconds},
        {"prefill", s.prefill_seconds},
        {"decode", s.decode_seconds}}},
      {"tokens_per_second",
       {{"generated", ratio(static_cast<double>(s.generated_tokens), passes)},
        {"processed", ratio(processed, passes)}}},
      {"passes", {{"prefill", s.prefill_passes}, {"decode", s.decode_passes}}},
      {"weights",
       {{"bytes", s.weights_bytes},
        {"resident_bytes", s.resident_bytes},
        {"streamed_bytes_per_pass", s.streamed_bytes_per_pass},
        {"tiers", tiers_json(s)}}},
      {"io",
       {{"engine", s.io_engine},
        {"direct", s.io_direct},
        {"bytes_read", s.bytes_read},
        {"gigabytes_per_second",
         ratio(static_cast<double>(s.bytes_read), s.reading_seconds) / 1e9}}},
      {"compute", {{"flops", s.flops}, {"gigaflops_per_second", ratio(s.flops, passes) / 1e9}}},
      {"stall_seconds", {{"weights", s.stall_weights_seconds}, {"kv", s.stall_kv_seconds}}},
      {"memory", memory_json(facts)},
      {"bound", fetch ? "fetch" : "compute"},
      {"notes", s.notes}};
  if (!facts.score.is_null()) report["score"] = facts.score;
  if (!facts.predicted.is_null()) report["predicted"] = facts.predicted;
  if (facts.storage_rate > 0)
    report["io"]["ceiling_gigabytes_per_second"] = facts.storage_rate / 1e9;
  if (!facts.history.is_null()) report["history"] = facts.history;
  if (!facts.timeline.is_null()) report["timeline"] = facts.timeline;
  return report;
}

std::string summarise_report(const Json& report) {
  const Json& rows = report["rows"];
  const Json& seconds = report["seconds"];
  const Json& weights = report["weights"];
  const Json& io = report["io"];
  const double passes = seconds["prefill"].get<double>() + seconds["decode"].get<double>();
  std::string lines = printf_text("rows: %lld ok, %lld failed", rows["ok"].get<long long>(),
                                  rows["failed"].get<long long>());
  if (rows["kept"] != 0)
    lines += printf_text(", %lld kept from earlier", rows["kept"].get<long long>());
  if (report.contains("score") && report["score"]["tokens"] != 0)
    lines += printf_text("\nscore: perplexity %.4f over %lld tokens",
                         report["score"]["perplexity"].get<double>(),
                         report["score"]["tokens"].get<long long>());
  if (passes == 0) return lines;
  lines += printf_text(
      "\ntokens: %lld prompt, %lld generated in %.1f s (%.1f s loading, %.1f s in passes): %.1f "
      "generated/s, %.1f processed/s in passes\n",
      report["tokens"]["prompt"].get<long long>(), report["tokens"]["generated"].get<long long>(),
      seconds["total"].get<double>(), seconds["load"].get<double>(), passes,
      report["tokens_per_second"]["generated"].get<double>(),
      report["tokens_per_second"]["processed"].get<double>());
  lines += printf_text(
      "passes: %lld prefill, %lld decode; weights: %s, %s resident, %s streamed per pass\n",
      report["passes"]["prefill"].get<long long>(), report["passes"]["decode"].get<long long>(),
      format_bytes(weights["bytes"]).c_str(), format_bytes(weights["resident_bytes"]).c_str(),
      format_bytes(weights["streamed_bytes_per_pass"]).c_str());
  if (io["bytes_read"] != 0)
    lines += printf_text(
        "reads: %s by %s (%s) at %.2f GB/s\n", format_bytes(io["bytes_read"]).c_str(),
        io["engine"].get<std::string>().c_str(), io["direct"] == true ? "direct" : "buffered",
        io["gigabytes_per_second"].get<double>());
  lines += printf_text(
      "compute: %.1f GFLOP/s; waiting for weights: %.0f %% of the passes; bound by %s\n",
      report["compute"]["gigaflops_per_second"].get<double>(),
      100 * ratio(report["stall_seconds"]["weights"].get<double>(), passes),
      report["bound"].get<std::string>().c_str());
  lines += printf_text("memory: %s at peak", format_bytes(report["memory"]["peak_rss"]).c_str());
  return lines;
}

void write_report(const Json& report, const std::string& path) {
  std::ofstream stream(path, std::ios::binary | std::ios::trunc);
  stream << report_text(report);
  stream.close();
  if (!stream) throw IoError("cannot write " + path + ": " + std::strerror(errno), errno);
}

}  // namespace zerostream
