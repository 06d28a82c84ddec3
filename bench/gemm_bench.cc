// Matrix multiplication on all cores beside what the machine allows, measured in the same rounds.
//
//   gemm_bench [--rounds 7] [--table N]      N: 0 is the first table, and so on; default all
//
// The ceiling is the better of a plain oneDNN loop and the roofline: the rate of multiply-adds in
// registers, or the rate of reads from memory where fetching the operands takes longer. The weights
// of successive rounds are different copies, so that they come from memory and not from a cache.
// Every figure is the best of its rounds; `median` is the ratio of the medians.
//
// Quantised weights are multiplied with a source of bf16. Where that happens in bf16 the ceiling
// includes the rate at which tiles are dequantised alone, from cache to cache; `of bf16` compares
// with bf16 weights in the same rounds.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "bench/command_line.h"
#include "bench/gemm_ceilings.h"
#include "bench/plain_onednn.h"
#include "cpu/cpu_device.h"
#include "cpu/linear.h"

namespace zerostream {
namespace {

constexpr int64_t kInputs = 4096, kOutputs = 14336;
constexpr int64_t kAllCopiesBytes = int64_t{700} << 20;
constexpr int64_t kRowCounts[] = {1, 8, 32, 128, 256, 512};

struct Setup {
  DType dtype;
  CpuIsa isa;
  int32_t group_size = 0;
  bool int8_activations = false;

  DType source() const { return group_size == 0 ? dtype : DType::kBF16; }
  // What is multiplied.
  DType arithmetic() const { return int8_activations ? DType::kI8 : source(); }
  std::string name() const {
    std::string name(dtype_name(dtype));
    if (group_size != 0) name += ", groups of " + std::to_string(group_size);
    return int8_activations ? name + ", int8 activations" : name;
  }
};

constexpr Setup kSetups[] = {
    {DType::kBF16, CpuIsa::kAmx},
    {DType::kBF16, CpuIsa::kAvx512Bf16},
    {DType::kBF16, CpuIsa::kAvx512},
    {DType::kBF16, CpuIsa::kAvx2},
    {DType::kF16, CpuIsa::kAvx512},
    {DType::kF16, CpuIsa::kAvx2},
    {DType::kF32, CpuIsa::kAvx512},
    {DType::kF32, CpuIsa::kAvx2},
    {DType::kI8, CpuIsa::kAmx, 128},
    {DType::kI8, CpuIsa::kAmx, 64},
    {DType::kI4, CpuIsa::kAmx, 128},
    {DType::kI4, CpuIsa::kAmx, 64},
    {DType::kI8, CpuIsa::kAmx, 128, true},
    {DType::kI8, CpuIsa::kAmx, 64, true},
    {DType::kI4, CpuIsa::kAmx, 128, true},
    {DType::kI4, CpuIsa::kAmx, 64, true},
    {DType::kI8, CpuIsa::kAvx512Bf16, 64},
    {DType::kI4, CpuIsa::kAvx512Bf16, 64},
    {DType::kI8, CpuIsa::kAvx512Bf16, 64, true},
    {DType::kI4, CpuIsa::kAvx512Bf16, 64, true},
    {DType::kI8, CpuIsa::kAvx2, 64},
    {DType::kI4, CpuIsa::kAvx2, 64},
};

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

// Copies of a random weight.
class Weights {
 public:
  Weights(DType dtype, int32_t group_size)
      : weight_{nullptr, dtype, WeightLayout::kTile64, kOutputs, kInputs, group_size},
        copies_(ceil_div(kAllCopiesBytes, weight_.bytes())),
        memory_(allocate_host(copies_ * weight_.bytes())) {
    weight_.data = memory_.data();
    if (group_size == 0)
      fill_floats();
    else
      fill_integers();
    for (int64_t copy = 1; copy < copies_; ++copy)
      std::memcpy(memory_.data() + copy * weight_.bytes(), memory_.data(),
                  static_cast<size_t>(weight_.bytes()));
  }
  int64_t copies() const { return copies_; }
  PackedWeight copy(int64_t index) const {
    PackedWeight copy = weight_;
    copy.data += index % copies_ * weight_.bytes();
    return copy;
  }

 private:
  void fill_floats() {
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0.0f, 0.02f);
    for (int64_t i = 0; i < kInputs * kOutputs; ++i)
      store_float(
          memory_.data(), weight_.dtype, i,
          i < 100000 ? normal(random) : load_float(memory_.data(), weight_.dtype, i - 100000));
  }
  void fill_integers() {
    std::mt19937_64 random(1);
    auto* words = memory_.as<uint64_t>();
    for (int64_t i = 0; i < weight_.bytes() / 8; ++i) words[i] = random();
    const int64_t table_bytes = weight_.panel_bytes() - weight_.tiles_bytes();
    for (int64_t panel = 0; panel < weight_.panels(); ++panel) {
      std::byte* table = memory_.data() + panel * weight_.panel_bytes() + weight_.tiles_bytes();
      for (int64_t i = 0; i < table_bytes / 2; ++i) store_float(table, DType::kF16, i, 0.001f);
    }
  }

  PackedWeight weight_;
  int64_t copies_;
  Buffer memory_;
};

// A random source, and room for the target.
struct Rows {
  static constexpr int64_t kMost = 512;
  explicit Rows(DType dtype)
      : source(allocate_host(dtype_bytes(dtype, kMost * kInputs))),
        target(allocate_host(4 * kMost * kOutputs)) {
    std::mt19937 random(2);
    std::normal_distribution<float> normal(0.0f, 0.02f);
    for (int64_t i = 0; i < kMost * kInputs; ++i)
      store_float(source.data(), dtype, i, normal(random));
  }
  Buffer source, target;
};

class Bench {
 public:
  Bench(const Setup& setup, int rounds)
      : setup_(setup),
        rounds_(rounds),
        device_({.max_isa = setup.isa}),
        stream_(device_.make_compute_stream()),
        pool_(device_.threads(), "bench"),
        weights_(setup.dtype, setup.group_size),
        rows_(setup.source()) {
    if (setup.group_size != 0) {
      bf16_ = std::make_unique<Weights>(DType::kBF16, 0);
      return;
    }
    const CpuIsa best = setup.dtype == DType::kBF16 ? CpuIsa::kAmx : CpuIsa::kAvx512;
    if (setup.isa == std::min(best, detect_cpu_isa()))  // oneDNN has no mask per call
      onednn_ = make_plain_onednn({setup.dtype, kInputs, kOutputs, weights_.copies()}, pool_);
  }

  void run() {
    std::printf("\n%s on %s\n%5s %8s %8s | %8s %9s %9s %10s | %6s %6s %8s\n", setup_.name().c_str(),
                device_.description().c_str(), "M", "GF/s", "GB/s", "oneDNN", "registers",
                "read GB/s", "dequantise", "ratio", "median", "of bf16");
    for (const int64_t rows : kRowCounts) run(rows);
  }

 private:
  // All in GFLOP/s but those of memory.
  struct Rates {
    Samples ours, onednn, bf16, registers, reads, dequantised;
  };

  void run(int64_t rows) {
    Rates rates;
    const double flops = 2.0 * static_cast<double>(rows * kInputs * kOutputs);
    if (onednn_ != nullptr) onednn_->prepare(rows);
    multiply(weights_, rows, 0);
    for (int round = 0; round < rounds_; ++round) {
      rates.ours.add(flops / multiply(weights_, rows, round) / 1e9);
      if (bf16_ != nullptr) rates.bf16.add(flops / multiply(*bf16_, rows, round) / 1e9);
      if (onednn_ != nullptr) rates.onednn.add(flops / run_onednn(round) / 1e9);
      rates.registers.add(register_gflops(setup_.arithmetic(), setup_.isa, pool_));
      const PackedWeight other = weights_.copy(round + 3);
      rates.reads.add(read_gigabytes(other.data, other.bytes(), pool_));
      if (dequantises())
        rates.dequantised.add(dequantise_gigabytes(other, setup_.source(), setup_.isa, pool_));
    }
    print(rows, flops, rates);
  }

  void print(int64_t rows, double flops, const Rates& rates) const {
    const auto bytes = static_cast<double>(weights_.copy(0).bytes());
    const double all_bytes =
        bytes +
        static_cast<double>(dtype_bytes(setup_.source(), rows * kInputs) + rows * kOutputs * 4);
    const auto ceiling = [&](double (Samples::*value)() const) {
      double roofline =
          std::min((rates.registers.*value)(), (rates.reads.*value)() * flops / all_bytes);
      if (dequantises())
        roofline = std::min(roofline, (rates.dequantised.*value)() * flops / bytes);
      return std::max((rates.onednn.*value)(), roofline);
    };
    const double ours = rates.ours.best();
    std::printf("%5d %8.0f %8.1f | %8.0f %9.0f %9.1f %10.1f | %6.2f %6.2f %8.2f\n",
                static_cast<int>(rows), ours, ours / flops * bytes, rates.onednn.best(),
                rates.registers.best(), rates.reads.best(), rates.dequantised.best(),
                ours / ceiling(&Samples::best), rates.ours.median() / ceiling(&Samples::median),
                bf16_ == nullptr ? 0 : ours / rates.bf16.best());
    std::fflush(stdout);
  }

  bool dequantises() const { return setup_.group_size != 0 && !setup_.int8_activations; }

  double multiply(const Weights& weights, int64_t rows, int64_t copy) {
    const double begin = seconds_now();
    cpu_linear({.source = {rows_.source.data(), setup_.source(), rows, kInputs, kInputs},
                .weight = weights.copy(copy),
                .target = {rows_.target.data(), DType::kF32, rows, kOutputs, kOutputs},
                .int8_activations = setup_.int8_activations && weights.copy(copy).group_size != 0},
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
  Weights weights_;
  std::unique_ptr<Weights> bf16_;  // to compare with, for quantised weights
  Rows rows_;
  std::unique_ptr<PlainOnednn> onednn_;
};

}  // namespace
}  // namespace zerostream

int main(int argc, char** argv) {
  using namespace zerostream;
  CLI::App app("Matrix products beside oneDNN and the machine's ceilings");
  int rounds = 7;
  int only = -1;
  app.add_option("--rounds", rounds, "Rounds of each table");
  app.add_option("--table", only, "Only this table, counted from 0");
  return run_bench(app, argc, argv, [&] {
    std::printf("%d inputs x %d outputs\n", static_cast<int>(kInputs), static_cast<int>(kOutputs));
    for (int i = 0; i < static_cast<int>(std::size(kSetups)); ++i)
      if (kSetups[i].isa <= detect_cpu_isa() && (only < 0 || only == i))
        Bench(kSetups[i], rounds).run();
  });
}
