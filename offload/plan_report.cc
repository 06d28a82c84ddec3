#include "offload/plan_report.h"

#include "base/bytes.h"
#include "base/printf_text.h"

namespace zerostream {
namespace {

double share(double part, double whole) { return whole > 0 ? part / whole : 0; }

Json pools_json(const std::vector<PoolBytes>& pools) {
  Json json = Json::object();
  int64_t sum = 0;
  for (const PoolBytes& pool : pools) {
    if (pool.bytes > 0) json[pool.name] = pool.bytes;
    sum += pool.bytes;
  }
  return {{"pools", json}, {"bytes", sum}};
}

Json memory_json(const PlannedJob& job) {
  const bool own_memory = job.hardware.link.has_value();
  Json device = pools_json(job.plan.memory.pools);
  device["limit"] = job.request.memory.host_memory;
  if (!own_memory) return {{"host", device}};
  Json host = pools_json(job.plan.memory.host_pools);
  host["limit"] = job.request.host_memory;
  return {{"device", device}, {"host", host}};
}

Json weights_json(const PlannedJob& job) {
  const bool own_memory = job.hardware.link.has_value();
  int64_t bytes[3] = {};
  const std::vector<Segment>& segments = job.model.layout.segments;
  for (size_t i = 0; i < segments.size(); ++i)
    bytes[static_cast<size_t>(job.plan.run.weights[i])] += segments[i].bytes;
  if (!own_memory) std::swap(bytes[0], bytes[1]);  // device memory is the host's
  return {{"bytes", bytes[0] + bytes[1] + bytes[2]},
          {"dtype", format_name(job.model.format)},
          {"device", bytes[0]},
          {"host", bytes[1]},
          {"nvme", bytes[2]},
          {"streamed_bytes_per_pass",
           Simulator(job.model.layout, job.hardware, job.plan.run).streamed_bytes()}};
}

const char* tier_name(Tier tier, bool own_memory) {
  if (tier == Tier::kNvme) return "nvme";
  return tier == Tier::kDevice && own_memory ? "device" : "host";
}

Json kv_json(const PlannedJob& job) {
  const RunPlan& plan = job.plan;
  return {{"dtype", dtype_name(plan.memory.kv_dtype)},
          {"placement", tier_name(plan.run.kv, job.hardware.link.has_value())},
          {"blocks", plan.memory.kv_blocks},
          {"blocks_on_device", plan.memory.kv_memory_blocks},
          {"tokens", plan.memory.kv_blocks * plan.wave.block_tokens}};
}

Json resources_json(const ResourceSeconds& busy) {
  return {{"storage", busy.storage},
          {"upload", busy.upload},
          {"download", busy.download},
          {"gather", busy.gather},
          {"compute", busy.compute}};
}

Json decode_pass_json(const JobPrediction& job) {
  if (job.decode_pass.seconds == 0) return nullptr;
  const PassPrediction& pass = job.decode_pass;
  return {
      {"rows", job.decode_shape.rows},
      {"context_tokens", job.decode_shape.context_tokens},
      {"seconds", pass.seconds},
      {"busy_seconds", resources_json(pass.busy)},
      {"bound", bound_name(pass.busy.bound())},
      {"stall_seconds", {{"weights", pass.weights_stall_seconds}, {"kv", pass.kv_stall_seconds}}}};
}

// Null where there was no such pass.
Json bound_json(int64_t passes, const ResourceSeconds& busy) {
  return passes == 0 ? Json(nullptr) : Json(bound_name(busy.bound()));
}

Json predicted_json(const PlannedJob& planned) {
  const JobPrediction& job = planned.plan.job;
  const double ranks = planned.request.ranks;
  const bool endless = planned.request.memory.workload.rows == 0;
  return {{"seconds", endless ? Json(nullptr) : Json(job.seconds)},
          {"tokens_per_second",
           {{"generated", ranks * job.tokens_per_second()},
            {"processed", ranks * share(job.generated_tokens + job.prompt_tokens, job.seconds)},
            {"prefill", ranks * job.prefill_tokens_per_second()},
            {"decode", ranks * job.decode_tokens_per_second}}},
          {"passes", {{"prefill", job.prefill_passes}, {"decode", job.decode_passes}}},
          {"pass_seconds", {{"prefill", job.prefill_seconds}, {"decode", job.decode_seconds}}},
          {"busy_seconds", resources_json(job.busy)},
          {"stall_seconds", {{"weights", job.weights_stall_seconds}, {"kv", job.kv_stall_seconds}}},
          {"bound", bound_name(job.busy.bound())},
          {"bound_seconds", job.bound_seconds()},
          {"pass_bound",
           {{"prefill", bound_json(job.prefill_passes, job.busy - job.decode_busy)},
            {"decode", bound_json(job.decode_passes, job.decode_busy)}}},
          {"decode_pass", decode_pass_json(job)}};
}

Json workload_json(const Workload& workload) {
  return {{"rows", workload.rows},
          {"mean_prompt_tokens", workload.mean_prompt_tokens},
          {"mean_new_tokens", workload.mean_new_tokens},
          {"longest_row_tokens", workload.longest_row_tokens}};
}

std::string bytes_text(const Json& bytes) { return format_bytes(bytes.get<int64_t>()); }
std::string string_of(const Json& json) { return json.get<std::string>(); }

std::string heading(const Json& plan) {
  const Json& workload = plan["workload"];
  const auto rows = workload["rows"].get<int64_t>();
  std::string text =
      printf_line("model      %s: %s of %s weights", string_of(plan["model"]).c_str(),
                  bytes_text(plan["weights"]["bytes"]).c_str(),
                  string_of(plan["weights"]["dtype"]).c_str()) +
      printf_line("machine    %s", string_of(plan["hardware"]["name"]).c_str());
  if (plan["ranks"].get<int>() > 1) text += printf_line("ranks      %d", plan["ranks"].get<int>());
  if (workload["mean_new_tokens"] == 0.0) return text + printf_line("job        not known");
  return text + printf_line("job        %s rows of %.0f + %.0f tokens in the mean, %lld at most",
                            rows == 0 ? "endless" : std::to_string(rows).c_str(),
                            workload["mean_prompt_tokens"].get<double>(),
                            workload["mean_new_tokens"].get<double>(),
                            static_cast<long long>(workload["longest_row_tokens"].get<int64_t>()));
}

std::string memory_text(const Json& plan) {
  std::string text;
  for (const auto& [tier, memory] : plan["memory"].items()) {
    text += printf_line("%-10s %s of %s", tier.c_str(), bytes_text(memory["bytes"]).c_str(),
                        bytes_text(memory["limit"]).c_str());
    for (const auto& [name, bytes] : memory["pools"].items())
      text += printf_line("             %-18s %10s", name.c_str(), bytes_text(bytes).c_str());
  }
  const Json& weights = plan["weights"];
  text += printf_line("weights    device %s, host %s, nvme %s; %s stream at every pass",
                      bytes_text(weights["device"]).c_str(), bytes_text(weights["host"]).c_str(),
                      bytes_text(weights["nvme"]).c_str(),
                      bytes_text(weights["streamed_bytes_per_pass"]).c_str());
  const Json& kv = plan["kv_cache"];
  return text + printf_line("kv cache   %s in %s, room for %lld tokens",
                            string_of(kv["dtype"]).c_str(), string_of(kv["placement"]).c_str(),
                            static_cast<long long>(kv["tokens"].get<int64_t>()));
}

std::string batch_text(const Json& plan) {
  const Json& batch = plan["batch"];
  return printf_line("pass       up to %d rows and %d tokens, %d segments ahead",
                     batch["max_sequences"].get<int>(), batch["token_budget"].get<int>(),
                     batch["prefetch_depth"].get<int>());
}

// What bounds passes of each kind, where there are both.
std::string passes_text(const Json& bounds) {
  if (bounds["prefill"].is_null() || bounds["decode"].is_null()) return "";
  return ": prefill " + string_of(bounds["prefill"]) + ", decode " + string_of(bounds["decode"]);
}

std::string predicted_text(const Json& plan) {
  const Json& predicted = plan["predicted"];
  const Json& rates = predicted["tokens_per_second"];
  std::string text = printf_line(
      "predicted  %.4g generated tokens/s over the job (prefill %.4g prompt tokens/s, decode "
      "%.4g)",
      rates["generated"].get<double>(), rates["prefill"].get<double>(),
      rates["decode"].get<double>());
  const Json& seconds = predicted["seconds"];
  if (!seconds.is_null())
    text += printf_line("           %.4g s, of which %s keeps the machine busy for %.4g s",
                        seconds.get<double>(), string_of(predicted["bound"]).c_str(),
                        predicted["bound_seconds"].get<double>());
  return text + printf_line("bound      %s%s", string_of(predicted["bound"]).c_str(),
                            passes_text(predicted["pass_bound"]).c_str());
}

}  // namespace

Json plan_json(const PlannedJob& job) {
  Json what_ifs = Json::array();
  const double now = job.plan.job.tokens_per_second() * job.request.ranks;
  for (const WhatIf& what_if : job.what_ifs)
    what_ifs.push_back({{"change", what_if.change},
                        {"tokens_per_second", what_if.tokens_per_second},
                        {"factor", share(what_if.tokens_per_second, now)}});
  return {{"model", job.model.layout.config.model_type},
          {"hardware", {{"name", job.hardware.name}, {"source", job.hardware.source}}},
          {"ranks", job.request.ranks},
          {"workload", workload_json(job.request.memory.workload)},
          {"memory", memory_json(job)},
          {"weights", weights_json(job)},
          {"kv_cache", kv_json(job)},
          {"batch",
           {{"max_sequences", job.plan.memory.max_sequences},
            {"token_budget", job.plan.memory.token_budget},
            {"prefetch_depth", job.plan.memory.prefetch_depth}}},
          {"predicted", predicted_json(job)},
          {"what_if", what_ifs}};
}

std::string plan_text(const Json& plan) {
  std::string text = heading(plan) + memory_text(plan) + batch_text(plan) + predicted_text(plan);
  for (const Json& what_if : plan["what_if"]) {
    const auto rate = what_if["tokens_per_second"].get<double>();
    const std::string change = string_of(what_if["change"]);
    text += rate > 0 ? printf_line("what if    %-24s %.4g tokens/s (x %.2f)", change.c_str(), rate,
                                   what_if["factor"].get<double>())
                     : printf_line("what if    %-24s does not fit", change.c_str());
  }
  return text;
}

std::string simulation_text(const Json& plan) {
  std::string text = heading(plan) + batch_text(plan) + predicted_text(plan);
  const Json& pass = plan["predicted"]["decode_pass"];
  if (pass.is_null()) return text;
  const auto seconds = pass["seconds"].get<double>();
  text += printf_line(
      "decode     %d rows, %lld positions of keys and values: %.4g s a pass, bound by %s",
      pass["rows"].get<int>(), static_cast<long long>(pass["context_tokens"].get<int64_t>()),
      seconds, string_of(pass["bound"]).c_str());
  for (const auto& [name, busy] : pass["busy_seconds"].items())
    if (busy.get<double>() > 0)
      text += printf_line("             %-10s busy %.4g s, %.0f %%", name.c_str(),
                          busy.get<double>(), 100 * busy.get<double>() / seconds);
  return text +
         printf_line("             compute waits %.4g s for weights, %.4g s for keys and values",
                     pass["stall_seconds"]["weights"].get<double>(),
                     pass["stall_seconds"]["kv"].get<double>());
}

}  // namespace zerostream
