#include "offload/probe_compute.h"

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "offload/backend.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int64_t kWeightsBytes = int64_t{64} << 20;
constexpr int64_t kOutputs = 4096, kInputs = 4096;
constexpr int32_t kGroupSize = 64;

constexpr int32_t kBlockTokens = 16, kKvHeads = 8, kHeadDim = 128, kQueryHeads = 32;
constexpr int32_t kPositions = 1024;

// Words that are ordinary numbers in every dtype and as scales of a group: fp16 of 1 to 2, bf16 and
// fp32 of 0.008 to 2, of either sign.
void fill_with_numbers(const Buffer& memory) {
  std::mt19937 random(1);
  for (uint16_t& word : std::span(memory.as<uint16_t>(), static_cast<size_t>(memory.size() / 2)))
    word = static_cast<uint16_t>((random() & 0x83ffu) | 0x3c00u);
}

PackedWeight probe_weight(DType dtype, int64_t outputs, int64_t inputs) {
  PackedWeight weight;
  weight.dtype = dtype;
  weight.outputs = outputs;
  weight.inputs = inputs;
  weight.group_size = dtype == DType::kI8 || dtype == DType::kI4 ? kGroupSize : 0;
  return weight;
}

}  // namespace

struct ComputeProbe::State {
  Device& device;
  Kernels& kernels;
  const ProbeRounds rounds;
  std::unique_ptr<Stream> stream;
  Buffer weights, source, target, arrays;

  void enqueue_small_products(int count) {
    const LinearArgs args = product(probe_weight(DType::kF32, 256, 64), false, 1);
    for (int i = 0; i < count; ++i) kernels.linear(args, *stream);
  }

  // Seconds until the device has done what `work` enqueues. `weight_bytes` of the weights are read.
  double time(int64_t weight_bytes, const std::function<void()>& work) {
    if (device.shares_host_memory()) flush_host_caches(weights.data(), weight_bytes);
    enqueue_small_products(1000);  // so that all workers are awake, each on its processor
    stream->synchronize();
    return time_of([&] {
      work();
      stream->synchronize();
    });
  }

  void upload(void* to, const void* from, int64_t bytes) {
    stream->copy(to, from, bytes);
    stream->synchronize();
  }

  void fill(const Buffer& memory, const Buffer& numbers) {
    for (int64_t at = 0; at < memory.size(); at += numbers.size())
      stream->copy(memory.data() + at, numbers.data(),
                   std::min(numbers.size(), memory.size() - at));
    stream->synchronize();
  }

  LinearArgs product(const PackedWeight& weight, bool int8_activations, int64_t rows) const {
    LinearArgs args;
    const DType activations = weight.group_size == 0 ? weight.dtype : DType::kBF16;
    args.source = {source.data(), activations, rows, weight.inputs, weight.inputs};
    args.weight = weight;
    args.weight.data = weights.data();
    args.target = {target.data(), DType::kF32, rows, weight.outputs, weight.outputs};
    args.int8_activations = int8_activations;
    return args;
  }

  // Flops per second of `count` products, each with a weight of its own.
  double product_rate(const LinearArgs& args, int64_t count) {
    const int64_t bytes = args.weight.bytes();
    const double seconds = time(count * bytes, [&] {
      for (int64_t i = 0; i < count; ++i) {
        LinearArgs one = args;
        one.weight.data = weights.data() + i * bytes;
        kernels.linear(one, *stream);
      }
    });
    return 2.0 * static_cast<double>(count * args.source.rows) *
           static_cast<double>(args.weight.outputs * args.weight.inputs) / seconds;
  }
};

ComputeProbe::ComputeProbe(Device& device, Kernels& kernels, int64_t most_rows, ProbeRounds rounds)
    : state_(new State{device, kernels, rounds, device.make_compute_stream(), {}, {}, {}, {}}) {
  state_->weights = device.allocate(kWeightsBytes);
  state_->source = device.allocate(most_rows * kInputs * 4);
  state_->target = device.allocate(most_rows * kOutputs * 4);
  state_->arrays = device.allocate(kHugePageBytes / 2);
  const Buffer numbers = device.allocate_pinned(kHugePageBytes);
  fill_with_numbers(numbers);
  state_->fill(state_->weights, numbers);
  state_->fill(state_->source, numbers);
}

ComputeProbe::~ComputeProbe() = default;

std::optional<GemmRates> ComputeProbe::gemm(DType weights, bool int8_activations,
                                            std::span<const int64_t> rows) {
  const PackedWeight weight = probe_weight(weights, kOutputs, kInputs);
  const int64_t copies = kWeightsBytes / weight.bytes();
  GemmRates rates{.weights = weights, .int8_activations = int8_activations, .points = {}};
  try {
    state_->product_rate(state_->product(weight, int8_activations, rows.front()), 1);
  } catch (const InternalError&) {  // the backend refuses such arguments
    return std::nullopt;
  }
  for (const int64_t count : rows) {
    constexpr int64_t kFewRows = 64;  // products that end sooner than a clock is trusted
    const LinearArgs args = state_->product(weight, int8_activations, count);
    rates.points.push_back({count, measure_rate(state_->rounds, [&] {
                              return state_->product_rate(args, count <= kFewRows ? copies : 1);
                            })});
  }
  return rates;
}

Rate ComputeProbe::attention(DType dtype) {
  State& state = *state_;
  KvLayerView kv{.base = state.weights.data(), .dtype = dtype};
  kv.block_bytes = KvLayerView::content_bytes(dtype, kBlockTokens, kKvHeads, kHeadDim);
  kv.block_tokens = kBlockTokens;
  kv.num_key_value_heads = kKvHeads;
  kv.head_dim = kHeadDim;
  constexpr int32_t kBlocks = kPositions / kBlockTokens;
  const auto sequences =
      static_cast<int32_t>(std::min(kWeightsBytes / (kBlocks * kv.block_bytes),
                                    state.source.size() / (int64_t{kQueryHeads} * kHeadDim * 4)));
  std::vector<int32_t> table(static_cast<size_t>(sequences * kBlocks));
  for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<int32_t>(i);
  auto* device_table = state.arrays.as<int32_t>();
  std::vector<SequenceSpan> spans;
  for (int32_t i = 0; i < sequences; ++i)
    spans.push_back({i, 1, kPositions - 1, device_table + i * kBlocks});
  auto* device_spans = reinterpret_cast<SequenceSpan*>(device_table + table.size() + 64);
  state.upload(device_table, table.data(), static_cast<int64_t>(table.size() * sizeof(int32_t)));
  state.upload(device_spans, spans.data(), static_cast<int64_t>(spans.size() * sizeof(spans[0])));
  constexpr int64_t kCols = int64_t{kQueryHeads} * kHeadDim;
  AttentionArgs args;
  args.query = {state.source.data(), DType::kF32, sequences, kCols, kCols};
  args.kv = kv;
  args.sequences = device_spans;
  args.num_sequences = sequences;
  args.scale = 0.01f;
  args.target = {state.target.data(), DType::kF32, sequences, kCols, kCols};
  const int64_t bytes = int64_t{sequences} * kBlocks * kv.block_bytes;
  return measure_rate(state.rounds, [&] {
    return static_cast<double>(bytes) /
           state.time(bytes, [&] { state.kernels.attention(args, *state.stream); });
  });
}

double ComputeProbe::launch_seconds() {
  constexpr int kOperations = 1000;
  const Rate seconds = measure_rate(state_->rounds, [&] {
    return state_->time(0, [&] { state_->enqueue_small_products(kOperations); }) / kOperations;
  });
  return seconds.median;
}

Rate host_memory_rate(const ProbeRounds& rounds) {
  const Buffer memory = allocate_host(kWeightsBytes);
  const int64_t threads = std::max(1u, std::thread::hardware_concurrency());
  const int64_t words = memory.size() / 8 / threads;
  std::atomic<uint64_t> sum{0};  // keeps the reads
  const auto read = [&](int64_t thread) {
    const uint64_t* data = memory.as<uint64_t>() + thread * words;
    uint64_t part = 0;
    for (int64_t i = 0; i < words; ++i) part += data[i];
    sum += part;
  };
  return measure_rate(rounds, [&] {
    flush_host_caches(memory.data(), memory.size());
    const double seconds = time_of([&] {
      std::vector<std::jthread> others;
      for (int64_t i = 1; i < threads; ++i) others.emplace_back(read, i);
      read(0);
    });
    return static_cast<double>(threads * words * 8) / seconds;
  });
}

}  // namespace zerostream
