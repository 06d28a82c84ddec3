// Matrix multiplication on all cores beside what the machine allows, measured in the same rounds.
//
//   gemm_bench [rounds [setup]]      setup: 0 is the first table, and so on; default all
//
// The ceiling is the better of a plain oneDNN loop and the roofline: the rate of multiply-adds in
// registers, or the rate of reads from memory where fetching the operands takes longer. The weights
// of successive rounds are different copies, so that they come from memory and not from a cache.
// Every figure is the best of its rounds; `median` is the ratio of the medians.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "bench/gemm_ceilings.h"
#include "bench/plain_onednn.h"
#include "cpu/cpu_device.h"
#include "cpu/linear.h"

namespace zerostream {
namespace {

constexpr int64_t kInputs = 4096, kOutputs = 14336, kCopies = 6;
constexpr int64_t kRowCounts[] = {1, 8, 32, 128, 512};

struct Setup {
  DType dtype;
  CpuIsa isa;
};

constexpr Setup kSetups[] = {{DType::kBF16, CpuIsa::kAmx},    {DType::kBF16, CpuIsa::kAvx512Bf16},
                             {DType::kBF16, CpuIsa::kAvx512}, {DType::kBF16, CpuIsa::kAvx2},
                             {DType::kF16, CpuIsa::kAvx512},  {DType::kF16, CpuIsa::kAvx2},
                             {DType::kF32, CpuIsa::kAvx512},  {DType::kF32, CpuIsa::kAvx2}};

struct Samples {
  std::vector<double> values;
  void add(double value) { values.push_back(value); }
  double best() const {
    return values.empty() ? 0 : *std::max_element(values.begin(), values.end());
  }
  double median() const {
    if (values.empty()) return 0;
    std::vector<double> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    return sorted[sorted.size() / 2];
  }
};

struct Operands {
  explicit Operands(DType dtype)
      : weight_bytes(dtype_bytes(dtype, kInputs * kOutputs)),
        weights(allocate_host(kCopies * weight_bytes)),
        source(allocate_host(dtype_bytes(dtype, 512 * kInputs))),
        target(allocate_host(4 * 512 * kOutputs)) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0.0f, 0.02f);
    for (int64_t i = 0; i < kInputs * kOutputs; ++i)
      store_float(weights.data(), dtype, i,
                  i < 100000 ? normal(random) : load_float(weights.data(), dtype, i - 100000));
    for (int64_t copy = 1; copy < kCopies; ++copy)
      std::memcpy(weights.data() + copy * weight_bytes, weights.data(),
                  static_cast<size_t>(weight_bytes));
    for (int64_t i = 0; i < 512 * kInputs; ++i)
      store_float(source.data(), dtype, i, normal(random));
  }
  int64_t weight_bytes;
  Buffer weights, source, target;
};

class Bench {
 public:
  Bench(const Setup& setup, int rounds)
      : setup_(setup),
        rounds_(rounds),
        device_({.max_isa = setup.isa}),
        stream_(device_.make_compute_stream()),
        pool_(device_.threads(), "bench"),
        operands_(setup.dtype) {
    const CpuIsa best = setup.dtype == DType::kBF16 ? CpuIsa::kAmx : CpuIsa::kAvx512;
    if (setup.isa == std::min(best, detect_cpu_isa()))  // oneDNN has no mask per call
      onednn_ = make_plain_onednn({setup.dtype, kInputs, kOutputs, kCopies}, pool_);
  }

  void run() {
    std::printf("\n%s on %s\n%5s %8s %8s | %8s %9s %9s | %6s %6s\n",
                std::string(dtype_name(setup_.dtype)).c_str(), device_.description().c_str(), "M",
                "GF/s", "GB/s", "oneDNN", "registers", "read GB/s", "ratio", "median");
    for (const int64_t rows : kRowCounts) run(rows);
  }

 private:
  void run(int64_t rows) {
    Samples ours, onednn, registers, reads;
    const double flops = 2.0 * static_cast<double>(rows * kInputs * kOutputs);
    if (onednn_ != nullptr) onednn_->prepare(rows);
    multiply(rows, 0);
    for (int round = 0; round < rounds_; ++round) {
      ours.add(flops / multiply(rows, round) / 1e9);
      if (onednn_ != nullptr) onednn.add(flops / run_onednn(round) / 1e9);
      registers.add(register_gflops(setup_.dtype, setup_.isa, pool_));
      reads.add(read_gigabytes(weights(round + 3), operands_.weight_bytes, pool_));
    }
    const double bytes = static_cast<double>(
        operands_.weight_bytes + dtype_bytes(setup_.dtype, rows * kInputs) + rows * kOutputs * 4);
    const auto ceiling = [&](double (Samples::*value)() const) {
      return std::max((onednn.*value)(),
                      std::min((registers.*value)(), (reads.*value)() * flops / bytes));
    };
    std::printf("%5d %8.0f %8.1f | %8.0f %9.0f %9.1f | %6.2f %6.2f\n", static_cast<int>(rows),
                ours.best(), ours.best() / flops * static_cast<double>(operands_.weight_bytes),
                onednn.best(), registers.best(), reads.best(),
                ours.best() / ceiling(&Samples::best), ours.median() / ceiling(&Samples::median));
    std::fflush(stdout);
  }

  const std::byte* weights(int64_t copy) const {
    return operands_.weights.data() + copy % kCopies * operands_.weight_bytes;
  }

  double multiply(int64_t rows, int64_t copy) {
    const double begin = seconds_now();
    cpu_linear({.source = {operands_.source.data(), setup_.dtype, rows, kInputs, kInputs},
                .weight = {weights(copy), setup_.dtype, WeightLayout::kTile64, kOutputs, kInputs},
                .target = {operands_.target.data(), DType::kF32, rows, kOutputs, kOutputs}},
               static_cast<CpuStream&>(*stream_));
    stream_->synchronize();
    return seconds_now() - begin;
  }

  double run_onednn(int64_t copy) {
    const double begin = seconds_now();
    onednn_->run(copy);
    return seconds_now() - begin;
  }

  const Setup setup_;
  const int rounds_;
  CpuDevice device_;
  std::unique_ptr<Stream> stream_;
  WorkerPool pool_;
  Operands operands_;
  std::unique_ptr<PlainOnednn> onednn_;
};

}  // namespace
}  // namespace zerostream

int main(int argc, char** argv) {
  using namespace zerostream;
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 7;
  std::printf("%d inputs x %d outputs\n", static_cast<int>(kInputs), static_cast<int>(kOutputs));
  const int only = argc > 2 ? std::atoi(argv[2]) : -1;
  for (int i = 0; i < static_cast<int>(std::size(kSetups)); ++i)
    if (kSetups[i].isa <= detect_cpu_isa() && (only < 0 || only == i))
      Bench(kSetups[i], rounds).run();
  return 0;
}
