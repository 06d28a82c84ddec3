#include "base/bytes.h"
#include "base/printf_text.h"
#include "offload/probe.h"

namespace zerostream {
namespace {

// A row of the table: what it is, and its rate in units of `unit`.
std::string line(const std::string& what, const Rate& rate, double unit) {
  std::string text = printf_text("  %-40s %10.2f", what.c_str(), rate.median / unit);
  if (rate.high > 0) text += printf_text(" %10.2f %10.2f", rate.low / unit, rate.high / unit);
  return text + "\n";
}

std::string heading(const std::string& what, const char* unit) {
  return printf_text("%-42s %10s %10s %10s\n", (what + ", " + unit).c_str(), "median", "low",
                     "high");
}

std::string storage_table(const HardwareProfile::Storage& storage) {
  std::string text = heading("disk", "GB/s");
  for (const auto& mode : storage.modes)
    text += line("read, " + mode.engine + (mode.direct ? ", direct, " : ", buffered, ") +
                     format_bytes(mode.block_size),
                 mode.rate, 1e9);
  text += line("read", storage.read, 1e9);
  if (storage.write.median > 0) text += line("write", storage.write, 1e9);
  return text + printf_text("  %-40s %10.0f microseconds\n", "latency of 4 KiB",
                            storage.latency_seconds * 1e6);
}

std::string device_table(const HardwareProfile& profile) {
  const HardwareProfile::Link& link = *profile.link;
  std::string text =
      heading("device memory, " + format_bytes(profile.compute.memory.bytes), "GB/s") +
      line("copies, read and written together", profile.compute.memory.read, 1e9) +
      heading("copies", "GB/s") + line("to the device", link.to_device, 1e9) +
      line("from the device", link.from_device, 1e9);
  if (link.both_ways.median > 0) text += line("both ways at once, together", link.both_ways, 1e9);
  if (link.pageable_to_device.median > 0)
    text += line("to the device, pageable", link.pageable_to_device, 1e9) +
            line("from the device, pageable", link.pageable_from_device, 1e9);
  return text;
}

std::string gemm_table(const GemmRates& rates) {
  std::string text = heading("products, " + std::string(dtype_name(rates.weights)) + " weights" +
                                 (rates.layout == WeightLayout::kRows ? ", in rows" : "") +
                                 (rates.int8_activations ? ", int8 act." : ""),
                             "GFLOP/s");
  for (const auto& point : rates.points)
    text +=
        line(std::to_string(point.rows) + (point.rows == 1 ? " row" : " rows"), point.flops, 1e9);
  return text;
}

}  // namespace

std::string probe_table(const HardwareProfile& profile) {
  std::string text = profile.name + "\n" + profile.source + "\n";
  if (profile.storage) text += storage_table(*profile.storage);
  text += heading("memory, " + format_bytes(profile.host.bytes), "GB/s") +
          line("read", profile.host.read, 1e9);
  if (profile.link) text += device_table(profile);
  for (const GemmRates& rates : profile.compute.gemm) text += gemm_table(rates);
  text += heading("attention", "GB/s of keys and values") +
          line("one row per sequence", profile.compute.attention, 1e9);
  if (profile.compute.prompt_attention.median > 0)
    text += heading("attention", "GFLOP/s") +
            line("over a prompt", profile.compute.prompt_attention, 1e9);
  return text + printf_text("%-42s %10.2f microseconds\n", "fixed cost of an operation",
                            profile.compute.launch_seconds * 1e6);
}

}  // namespace zerostream
