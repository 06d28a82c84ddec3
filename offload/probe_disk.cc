#include "offload/probe_disk.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <tuple>

#include "base/bytes.h"
#include "nvme/probe.h"
#include "offload/probe_samples.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int kQueueDepth = 16;  // as runs have it
constexpr int64_t kLargeBlock = int64_t{4} << 20;
constexpr int64_t kBlockSizes[] = {int64_t{256} << 10, int64_t{1} << 20, kLargeBlock};
constexpr int64_t kProbeMemory = int64_t{128} << 20;
constexpr int64_t kQuickMemory = int64_t{64} << 20;
constexpr int64_t kQuickScratch = int64_t{256} << 20;
constexpr int64_t kLeastFile = int64_t{64} << 20;
constexpr ProbeRounds kProbeRounds = {.least = 3, .most = 3, .seconds = 0.5};
constexpr ProbeRounds kQuickRounds = {.least = 3, .most = 3, .seconds = 0.2};

// Stretches of one file, each beginning where the last one ended.
struct DiskRates {
  const File& file;
  int64_t file_bytes;
  const Buffer& memory;
  double stretch_seconds;
  int64_t next = 0;

  Rate measure(IoRequest::Kind kind, IoEngine& engine, int64_t block_size,
               const ProbeRounds& rounds) {
    return measure_rate(rounds, [&] {
      if (!file.direct()) file.drop_cache();
      const DiskTime time = time_stretch({.file = &file,
                                          .kind = kind,
                                          .file_bytes = file_bytes,
                                          .begin = next,
                                          .block_size = block_size,
                                          .most_seconds = stretch_seconds},
                                         engine, memory);
      next = (next + time.bytes) % file_bytes;
      return static_cast<double>(time.bytes) / time.seconds;
    });
  }
};

std::unique_ptr<IoEngine> engine_or_null(IoEngineKind kind) {
  try {
    return make_io_engine(kind, kQueueDepth, nullptr);
  } catch (const UsageError&) {  // `zerostream doctor` says why
    return nullptr;
  }
}

void probe_modes(const DiskRates& rates, HardwareProfile::Storage& storage,
                 const std::function<void(const std::string&)>& progress) {
  for (const IoEngineKind kind :
       {IoEngineKind::kUring, IoEngineKind::kLibaio, IoEngineKind::kThreads}) {
    const auto engine = engine_or_null(kind);
    if (engine == nullptr) continue;
    const bool direct = rates.file.direct();
    if (progress) progress(engine->name() + (direct ? ", direct" : ", through the page cache"));
    DiskRates own = rates;
    for (const int64_t block : kBlockSizes)
      storage.modes.push_back(
          {.engine = engine->name(),
           .direct = direct,
           .block_size = block,
           .rate = own.measure(IoRequest::Kind::kRead, *engine, block, kProbeRounds)});
  }
}

// The best engine with large blocks, as runs have them; direct where that is possible.
Rate best_read(const std::vector<HardwareProfile::ReadMode>& modes) {
  const auto worth = [](const auto& mode) {
    return std::tuple(mode.block_size == kLargeBlock, mode.direct, mode.rate.median);
  };
  return std::max_element(modes.begin(), modes.end(),
                          [&](const auto& a, const auto& b) { return worth(a) < worth(b); })
      ->rate;
}

std::string folder_of(const std::string& path) {
  if (std::filesystem::is_directory(path)) return path;
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

HardwareProfile::Storage quick_reads(const File& file, int64_t file_bytes, IoEngineKind kind) {
  const auto engine = make_io_engine(kind, kQueueDepth, nullptr);
  const Buffer memory = allocate_host(kQuickMemory);
  DiskRates rates{file, file_bytes, memory, 0.1};
  HardwareProfile::Storage storage;
  storage.read = rates.measure(IoRequest::Kind::kRead, *engine, kLargeBlock, kQuickRounds);
  storage.latency_seconds = round_to_four_digits(small_read_seconds(file, file_bytes, 50));
  return storage;
}

double quick_write_rate(const std::string& folder) {
  try {
    return ScratchFile(folder, {.bytes = kLeastFile, .most_seconds = 0.2}).write_rate();
  } catch (const IoError&) {  // a folder that is read only or full; the run may not write either
    return 0;
  }
}

}  // namespace

HardwareProfile::Storage probe_storage(const std::string& folder,
                                       const std::function<void(const std::string&)>& progress) {
  if (progress) progress("a file of random bytes in " + folder);
  const ScratchFile scratch(folder, {});
  const Buffer memory = allocate_host(kProbeMemory);
  HardwareProfile::Storage storage;
  DiskRates rates{scratch.file(), scratch.bytes(), memory, 0.1};
  if (scratch.file().direct()) probe_modes(rates, storage, progress);
  probe_modes({scratch.buffered(), scratch.bytes(), memory, 0.1}, storage, progress);
  storage.read = best_read(storage.modes);
  storage.latency_seconds =
      round_to_four_digits(small_read_seconds(scratch.file(), scratch.bytes(), 200));
  if (progress) progress("writes");
  rates.stretch_seconds = 0.3;
  storage.write = rates.measure(IoRequest::Kind::kWrite,
                                *make_io_engine(IoEngineKind::kAuto, kQueueDepth, nullptr),
                                kLargeBlock, kProbeRounds);
  return storage;
}

HardwareProfile::Storage quick_storage(const std::string& path, IoEngineKind engine) {
  const std::string folder = folder_of(path);
  if (std::filesystem::is_regular_file(path) && std::filesystem::file_size(path) >= kLeastFile) {
    const File file = File::open(path, {.write = false, .direct = true});
    HardwareProfile::Storage storage = quick_reads(file, file.size(), engine);
    storage.write.median = round_to_four_digits(quick_write_rate(folder));
    return storage;
  }
  const ScratchFile scratch(folder, {.bytes = kQuickScratch, .most_seconds = 0.4});
  HardwareProfile::Storage storage = quick_reads(scratch.file(), scratch.bytes(), engine);
  storage.write.median = round_to_four_digits(scratch.write_rate());
  return storage;
}

}  // namespace zerostream
