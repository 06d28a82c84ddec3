#include "offload/pack.h"

#include <memory>
#include <optional>

#include "base/bytes.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/signals.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int kSignalExit = 128;

struct Stopped {};

struct PackFlags {
  std::string source, store, dtype = "auto", layout = "tile64";
  bool asymmetric = false, quantise_head = false, dummy_weights = false, overwrite = false;
  std::optional<int32_t> group_size;
};

PackOptions pack_options(const PackFlags& flags) {
  PackOptions options{
      .group_size = flags.group_size,
      .asymmetric = flags.asymmetric,
      .quantise_head = flags.quantise_head,
      .layout = flags.layout == "rows" ? WeightLayout::kRows : WeightLayout::kTile64,
      .dummy_weights = flags.dummy_weights,
      .overwrite = flags.overwrite};
  if (flags.dtype != "auto") options.dtype = dtype_from_name(flags.dtype);
  return options;
}

int pack(const PackFlags& flags) {
  if (PackedStore::is_store(flags.source))
    throw UsageError(flags.source + " is a packed store already; name what it was made from");
  const std::atomic<bool>& stop = catch_signals();
  PackOptions options = pack_options(flags);
  Console console({});
  options.progress = [&](int64_t done, int64_t total) {
    if (stop) throw Stopped();
    console.show_packing(done, total);
  };
  const Checkpoint checkpoint = flags.dummy_weights ? Checkpoint::open_config_only(flags.source)
                                                    : Checkpoint::open(flags.source);
  try {
    pack_store(checkpoint, flags.store, options);
  } catch (const Stopped&) {
    console.log(LogLevel::kWarn, "stopped by a signal; nothing was kept");
    return kSignalExit + caught_signal();
  }
  const PackedStore store = PackedStore::open(flags.store);
  int64_t bytes = store.vectors_segment().bytes;
  for (const Segment& segment : store.segments()) bytes += segment.bytes;
  console.log(LogLevel::kInfo, "packed " + format_bytes(bytes) + " of " +
                                   format_name(store.format()) + " weights into " + flags.store);
  return 0;
}

}  // namespace

void add_pack(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<PackFlags>();
  CLI::App* command = app.add_subcommand("pack", "Turns a checkpoint into a packed store");
  command->add_option("SOURCE", flags->source, "Hugging Face folder or GGUF file")->required();
  command->add_option("-o,--output", flags->store, "Folder of the store")->required();
  command->add_option("--dtype", flags->dtype, "auto (as stored), fp32, fp16, bf16, int8 or int4")
      ->check(CLI::IsMember({"auto", "fp32", "fp16", "bf16", "int8", "int4"}));
  command->add_option("--group-size", flags->group_size,
                      "Inputs that share a scale, for int8 and int4: 32, 64 (default) or 128");
  command->add_flag("--asymmetric", flags->asymmetric,
                    "Groups have zeros of their own, for int8 and int4");
  command->add_flag("--quantise-head", flags->quantise_head,
                    "Quantises the head, too, for int8 and int4");
  command->add_option("--layout", flags->layout, "tile64 or rows")
      ->check(CLI::IsMember({"tile64", "rows"}));
  command->add_flag("--dummy-weights", flags->dummy_weights,
                    "Seeded random weights; SOURCE needs only config.json");
  command->add_flag("--overwrite", flags->overwrite, "Replaces a complete store");
  command->callback([=, &exit_code] { exit_code = pack(*flags); });
}

}  // namespace zerostream
