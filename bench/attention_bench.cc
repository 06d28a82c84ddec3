// Attention on all cores beside what the machine allows, measured in the same rounds.
//
//   attention_bench [KV dtype...]      default: fp32 bf16 fp16 int8
//
// Heads of Mistral-7B: 32 of queries, 8 of keys and values, 128 columns. Decoding is one row for
// each sequence and is measured in GB/s of keys and values (scales counted) beside plain reads of
// memory; a chunk of a prompt in GFLOP/s beside multiply-adds in registers. Blocks are drawn at
// random from a pool that no cache holds; sequences that do not fit into it share blocks. Every
// figure is the best of its rounds.
#include <algorithm>
#include <cstdio>
#include <random>
#include <vector>

#include "bench/command_line.h"
#include "bench/gemm_ceilings.h"
#include "cpu/cpu_device.h"
#include "cpu/cpu_kernels.h"

namespace zerostream {
namespace {

constexpr int32_t kHeads = 32, kKvHeads = 8, kHeadDim = 128, kBlockTokens = 16;
constexpr int32_t kLongest = 32768, kMostRows = 256;
constexpr int64_t kPoolBytes = int64_t{1} << 30;
constexpr double kSecondsPerFigure = 0.4;

class Bench {
 public:
  explicit Bench(DType dtype)
      : stream_(device_.make_compute_stream()),
        pool_(device_.threads(), "bench"),
        kv_{nullptr,
            dtype,
            round_up(KvLayerView::content_bytes(dtype, kBlockTokens, kKvHeads, kHeadDim), 64),
            kBlockTokens,
            kKvHeads,
            kHeadDim},
        blocks_(static_cast<int32_t>(kPoolBytes / kv_.block_bytes)),
        memory_(allocate_host(kPoolBytes)),
        query_(allocate_host(4 * kMostRows * kHeads * kHeadDim)),
        target_(allocate_host(4 * kMostRows * kHeads * kHeadDim)) {
    kv_.base = memory_.data();
    fill_pool();
    for (int64_t i = 0; i < kMostRows * kHeads * kHeadDim; ++i)
      query_.as<float>()[i] = normal_(random_);
  }

  void run() {
    std::printf("\n%s KV on %s\n%6s %8s %10s %8s %8s\n", std::string(dtype_name(kv_.dtype)).c_str(),
                device_.description().c_str(), "rows", "context", "", "ceiling", "ratio");
    for (const int32_t rows : {1, 32, 128})
      for (const int32_t context : {512, 4096, kLongest}) decode(rows, context);
    prefill(256, 2048);
  }

 private:
  // Writes one block through write_kv and copies it: all blocks hold plausible numbers and scales.
  void fill_pool() {
    const int64_t cols = (kHeads + 2 * kKvHeads) * kHeadDim;
    std::vector<float> qkv(static_cast<size_t>(kBlockTokens * cols));
    for (float& x : qkv) x = normal_(random_);
    const int32_t first = 0;
    const SequenceSpan span = {0, kBlockTokens, 0, &first};
    kernels_.write_kv(
        {.qkv = {reinterpret_cast<std::byte*>(qkv.data()), DType::kF32, kBlockTokens, cols, cols},
         .sequences = &span,
         .num_sequences = 1,
         .kv = kv_,
         .query = view(query_, kBlockTokens)},
        *stream_);
    stream_->synchronize();
    for (int64_t block = 1; block < blocks_; ++block)
      std::copy_n(kv_.base, kv_.block_bytes, kv_.base + block * kv_.block_bytes);
  }

  static TensorView view(const Buffer& buffer, int64_t rows) {
    return {buffer.data(), DType::kF32, rows, kHeads * kHeadDim, kHeads * kHeadDim};
  }

  // Spans of `rows` rows each, which end at position `context`.
  std::vector<SequenceSpan> spans(int32_t count, int32_t rows, int32_t context) {
    tables_.resize(static_cast<size_t>(count) * kLongest / kBlockTokens);
    std::uniform_int_distribution<int32_t> any(0, blocks_ - 1);
    for (int32_t& block : tables_) block = any(random_);
    std::vector<SequenceSpan> all;
    for (int32_t i = 0; i < count; ++i)
      all.push_back({i * rows, rows, context - rows,
                     &tables_[static_cast<size_t>(i) * kLongest / kBlockTokens]});
    return all;
  }

  double seconds(const std::vector<SequenceSpan>& spans, int64_t rows) {
    const double begin = seconds_now();
    kernels_.attention({.query = view(query_, rows),
                        .kv = kv_,
                        .sequences = spans.data(),
                        .num_sequences = static_cast<int32_t>(spans.size()),
                        .scale = 0.09f,
                        .target = view(target_, rows)},
                       *stream_);
    stream_->synchronize();
    return seconds_now() - begin;
  }

  // The shortest of several calls, each over other blocks.
  double least_seconds(int32_t count, int32_t rows, int32_t context) {
    double least = 1e9;
    const double begin = seconds_now();
    do least = std::min(least, seconds(spans(count, rows, context), count * rows));
    while (seconds_now() - begin < kSecondsPerFigure);
    return least;
  }

  void decode(int32_t rows, int32_t context) {
    const double took = least_seconds(rows, 1, context);
    double ceiling = 0;
    for (int i = 0; i < 3; ++i)
      ceiling = std::max(ceiling, read_gigabytes(memory_.data(), kPoolBytes / 4, pool_));
    const double blocks = static_cast<double>(rows) * context / kBlockTokens;
    const double rate = blocks * static_cast<double>(kv_.block_bytes) / took / 1e9;
    std::printf("%6d %8d %6.1f GB/s %8.1f %8.2f\n", rows, context, rate, ceiling, rate / ceiling);
    std::fflush(stdout);
  }

  void prefill(int32_t rows, int32_t context) {
    const double took = least_seconds(1, rows, context);
    const double pairs = rows * (context - (rows - 1) / 2.0);
    const double rate = pairs * kHeads * kHeadDim * 4 / took / 1e9;
    const double ceiling = register_gflops(DType::kF32, device_.isa(), pool_);
    std::printf("%6d %8d %5.0f GFLOP/s %7.0f %8.2f\n", rows, context, rate, ceiling,
                rate / ceiling);
    std::fflush(stdout);
  }

  CpuDevice device_;
  CpuKernels kernels_{device_, 1};
  std::unique_ptr<Stream> stream_;
  WorkerPool pool_;
  KvLayerView kv_;
  const int32_t blocks_;
  Buffer memory_, query_, target_;
  std::vector<int32_t> tables_;
  std::mt19937 random_{1};
  std::normal_distribution<float> normal_;
};

}  // namespace
}  // namespace zerostream

int main(int argc, char** argv) {
  using namespace zerostream;
  CLI::App app("Attention on all cores, beside reads of memory and multiply-adds in registers");
  std::vector<DType> dtypes = {DType::kF32, DType::kBF16, DType::kF16, DType::kI8};
  add_dtypes(app, "dtypes", dtypes, "Of keys and values");
  return run_bench(app, argc, argv, [&] {
    for (const DType dtype : dtypes) Bench(dtype).run();
  });
}
