// How fast the engines read a file, beside the ceiling of a plain loop in the same run.
//
//   io_bench [--file PATH | --size 2GiB] [--block 4MiB] [--depth 16] [--segment 64MiB] [--rounds 5]
//
// Without --file it makes a scratch file in the working folder. Every round runs the ceiling and
// every path once, so that all see the same state of a shared disk; ratios are taken within a
// round.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/bytes.h"
#include "bench/command_line.h"
#include "bench/plain_uring.h"
#include "cpu/cpu_device.h"
#include "nvme/file.h"
#include "nvme/io_engine.h"
#include "nvme/transfer.h"
#include "prefetch/prefetcher.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

struct Options {
  std::string file;
  int64_t size = int64_t{2} << 30;
  int64_t block = int64_t{4} << 20;
  int64_t segment = int64_t{64} << 20;
  int depth = 16;
  int rounds = 5;
};

void add_options(CLI::App& app, Options& options) {
  app.add_option("--file", options.file, "To read; else a scratch file here");
  add_bytes(app, "--size", options.size, "Bytes of a round");
  add_bytes(app, "--block", options.block, "Bytes of a request");
  add_bytes(app, "--segment", options.segment, "Bytes of a fetch");
  app.add_option("--depth", options.depth, "Requests in flight");
  app.add_option("--rounds", options.rounds, "Rounds of all paths");
}

// A file of random bytes that is gone when it is closed.
File make_scratch(int64_t bytes) {
  const std::string path = "io_bench.scratch." + std::to_string(getpid());
  File file = File::open(path, {.write = true, .direct = true});
  unlink(path.c_str());
  file.allocate(bytes);
  const Buffer block = allocate_host(int64_t{16} << 20);
  std::mt19937_64 random(1);
  std::generate_n(block.as<uint64_t>(), block.size() / 8, std::ref(random));
  for (int64_t at = 0; at < bytes; at += block.size())
    write_fully(file, at, block.data(), std::min(block.size(), bytes - at));
  file.sync();
  file.drop_cache();
  return file;
}

double seconds_of(const std::function<void()>& body) {
  const auto begin = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Segments one after the other into a ring of five, two of them with the queue at any time.
double transfer_queue_seconds(const File& file, const Options& options, IoEngineKind kind,
                              std::byte* ring) {
  const auto engine = make_io_engine(kind, options.depth, nullptr);
  TransferQueue queue(*engine, {.block_size = options.block});
  return seconds_of([&] {
    int64_t queued = 0;
    std::exception_ptr failure;
    for (int64_t at = 0; at < options.size; at += options.segment) {
      ++queued;
      queue.submit({.file = &file,
                    .offset = at,
                    .data = ring + at / options.segment % 5 * options.segment,
                    .bytes = std::min(options.segment, options.size - at),
                    .done = [&](std::exception_ptr error) {
                      --queued;
                      if (error) failure = error;
                    }});
      while (queued > 1) queue.pump(true);
    }
    while (!queue.idle()) queue.pump(true);
    if (failure) std::rethrow_exception(failure);
  });
}

// What a run of the engine does, with layers that take no time to compute.
double prefetcher_seconds(const File& file, const Options& options, IoEngineKind kind,
                          Device& device) {
  Prefetcher prefetcher(device, {.engine = kind,
                                 .transfer = {.block_size = options.block},
                                 .queue_depth = options.depth,
                                 .ring_bytes = 5 * options.segment,
                                 .prefetch_depth = 4});
  return seconds_of([&] {
    std::vector<FetchTicket> tickets;
    for (int64_t at = 0; at < options.size; at += options.segment)
      tickets.push_back(prefetcher.submit(
          {.file = &file, .offset = at, .bytes = std::min(options.segment, options.size - at)}));
    for (const FetchTicket& ticket : tickets) {
      ticket->wait();
      prefetcher.release(ticket);
    }
  });
}

struct Path {
  std::string name;
  std::function<double()> seconds;
  std::vector<double> rates;   // GB/s per round
  std::vector<double> ratios;  // to the ceiling of the round
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

std::vector<Path> make_paths(const File& file, const Options& options, Device& device,
                             std::byte* ring) {
  std::vector<Path> paths;
  paths.push_back({"ceiling: plain io_uring loop",
                   [&options, &file, ring] {
                     return plain_uring_seconds({.fd = file.fd(),
                                                 .bytes = options.size,
                                                 .block = options.block,
                                                 .depth = options.depth},
                                                ring);
                   },
                   {},
                   {}});
  for (IoEngineKind kind : {IoEngineKind::kUring, IoEngineKind::kLibaio, IoEngineKind::kThreads}) {
    std::string name;
    try {
      name = make_io_engine(kind, 1, nullptr)->name();
    } catch (const UsageError& error) {
      std::printf("skipped: %s\n", error.what());
      continue;
    }
    paths.push_back({name + ", transfer queue",
                     [&options, &file, kind, ring] {
                       return transfer_queue_seconds(file, options, kind, ring);
                     },
                     {},
                     {}});
    paths.push_back({name + ", prefetcher",
                     [&options, &file, &device, kind] {
                       return prefetcher_seconds(file, options, kind, device);
                     },
                     {},
                     {}});
  }
  return paths;
}

void run(Options options) {
  File file = options.file.empty() ? make_scratch(options.size)
                                   : File::open(options.file, {.direct = true});
  if (!options.file.empty()) options.size = file.size();
  options.size = options.size / options.block * options.block;
  if (options.size == 0) throw UsageError("the file is smaller than a block");
  if (!file.direct())
    std::printf("buffered I/O, figures are of the page cache: %s\n", file.why_not_direct().c_str());
  std::printf("%s of %s, blocks of %s, %d in flight, segments of %s, %d rounds\n",
              format_bytes(options.size).c_str(), file.path().c_str(),
              format_bytes(options.block).c_str(), options.depth,
              format_bytes(options.segment).c_str(), options.rounds);
  CpuDevice device({.threads = 1});
  const Buffer ring = allocate_host(std::max(5 * options.segment, options.block * options.depth));
  std::vector<Path> paths = make_paths(file, options, device, ring.data());
  for (int round = 0; round < options.rounds; ++round)
    for (Path& path : paths) {
      path.rates.push_back(static_cast<double>(options.size) / path.seconds() / 1e9);
      path.ratios.push_back(path.rates.back() / paths.front().rates.back());
    }
  std::printf("%-32s %12s %12s %16s\n", "", "median GB/s", "best GB/s", "median ratio");
  for (const Path& path : paths)
    std::printf("%-32s %12.2f %12.2f %16.3f\n", path.name.c_str(), median(path.rates),
                *std::max_element(path.rates.begin(), path.rates.end()), median(path.ratios));
}

}  // namespace
}  // namespace zerostream

int main(int argc, char** argv) {
  using namespace zerostream;
  CLI::App app("Reading by each engine, beside a plain io_uring loop");
  Options options;
  add_options(app, options);
  return run_bench(app, argc, argv, [&] { run(options); });
}
