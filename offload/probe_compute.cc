#include "offload/probe_compute.h"

#include <algorithm>
#include <atomic>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "offload/backend.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kHostBytes = 64 * kMiB;
constexpr int32_t kGroupSize = 64;
constexpr int64_t kFewRows = 64;  // on a CPU: products that end sooner than a clock is trusted
// Of so many small products on a device that is worth large ones.
constexpr double kQuickSeconds = 1e-3;
constexpr int kQuickProducts = 8;

constexpr int32_t kBlockTokens = 16, kKvHeads = 8, kHeadDim = 128, kQueryHeads = 32;
constexpr int64_t kQueryCols = int64_t{kQueryHeads} * kHeadDim;

// Of what is computed.
struct ProbeSizes {
  int64_t weights_bytes = 0;  // of all weights together, or of keys and values
  int64_t outputs = 0, inputs = 0;
  int64_t most_rows = 0;
  int32_t positions = 0, prompt_rows = 0;
};
constexpr ProbeSizes kSmall = {256 << 10, 128, 256, 32, 32, 8};
constexpr ProbeSizes kLarge = {kHostBytes, 4096, 4096, 0, 1024, 512};
constexpr int64_t kDeviceBytes = 256 * kMiB;  // more than caches of devices hold

// Words that are ordinary numbers in every dtype and as scales of a group: fp16 of 1 to 2, bf16 and
// fp32 of 0.008 to 2, of either sign.
void fill_with_numbers(const Buffer& memory) {
  std::mt19937 random(1);
  for (uint16_t& word : std::span(memory.as<uint16_t>(), static_cast<size_t>(memory.size() / 2)))
    word = static_cast<uint16_t>((random() & 0x83ffu) | 0x3c00u);
}

PackedWeight probe_weight(const WeightKind& kind, int64_t outputs, int64_t inputs) {
  PackedWeight weight;
  weight.dtype = kind.dtype;
  weight.layout = kind.layout;
  weight.outputs = outputs;
  weight.inputs = inputs;
  weight.group_size = is_quantised(kind.dtype) ? kGroupSize : 0;
  return weight;
}

}  // namespace

struct ComputeProbe::State {
  Device& device;
  Kernels& kernels;
  const ProbeRounds rounds;
  const bool own_memory;
  std::unique_ptr<Stream> stream;
  ProbeSizes sizes = {};
  Buffer weights, source, target, arrays;

  State(Device& used_device, Kernels& used_kernels, ProbeRounds probe_rounds)
      : device(used_device),
        kernels(used_kernels),
        rounds(probe_rounds),
        own_memory(!used_device.shares_host_memory()),
        stream(used_device.make_compute_stream()) {}

  void allocate(const ProbeSizes& chosen) {
    sizes = chosen;
    const int64_t row_bytes = 4 * std::max({sizes.inputs, sizes.outputs, kQueryCols});
    weights = device.allocate(sizes.weights_bytes);
    source = device.allocate(sizes.most_rows * row_bytes);
    target = device.allocate(sizes.most_rows * row_bytes);
    arrays = device.allocate(kMiB);
    const Buffer numbers = device.allocate_pinned(kMiB);
    fill_with_numbers(numbers);
    fill(weights, numbers);
    fill(source, numbers);
  }

  // REQUIRES: small sizes.
  bool quick() {
    const LinearArgs args = product({}, sizes.most_rows);
    const auto multiply = [&] {
      for (int i = 0; i < kQuickProducts; ++i) kernels.linear(args, *stream);
      stream->synchronize();
    };
    multiply();  // the first call of a kernel brings it to the device
    return time_of(multiply) < kQuickSeconds;
  }

  void enqueue_small_products(int count) {
    LinearArgs args = product({.dtype = DType::kF32}, 1);
    args.weight = probe_weight({.dtype = DType::kF32}, 256, 64);
    args.weight.data = weights.data();
    args.source = {source.data(), DType::kF32, 1, 64, 64};
    args.target = {target.data(), DType::kF32, 1, 256, 256};
    for (int i = 0; i < count; ++i) kernels.linear(args, *stream);
  }

  // Seconds that the device takes for what `work` enqueues. `weight_bytes` of the weights are read.
  double time(int64_t weight_bytes, const std::function<void()>& work) {
    if (own_memory) return seconds_per_call(*stream, work);
    flush_host_caches(weights.data(), weight_bytes);
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

  LinearArgs product(const WeightKind& kind, int64_t rows) const {
    LinearArgs args;
    args.weight = probe_weight(kind, sizes.outputs, sizes.inputs);
    args.weight.data = weights.data();
    const DType activations = args.weight.group_size == 0 ? kind.dtype : DType::kBF16;
    args.source = {source.data(), activations, rows, sizes.inputs, sizes.inputs};
    args.target = {target.data(), DType::kF32, rows, sizes.outputs, sizes.outputs};
    args.int8_activations = kind.int8_activations;
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

  KvLayerView kv_view(DType dtype) const {
    KvLayerView kv{.base = weights.data(), .dtype = dtype};
    kv.block_bytes = KvLayerView::content_bytes(dtype, kBlockTokens, kKvHeads, kHeadDim);
    kv.block_tokens = kBlockTokens;
    kv.num_key_value_heads = kKvHeads;
    kv.head_dim = kHeadDim;
    return kv;
  }

  // Attention of the last `rows` positions of each of `sequences`.
  AttentionArgs attention(DType dtype, int32_t sequences, int32_t rows) {
    const int32_t blocks = sizes.positions / kBlockTokens;
    std::vector<int32_t> table(static_cast<size_t>(sequences * blocks));
    std::iota(table.begin(), table.end(), 0);
    auto* device_table = arrays.as<int32_t>();
    std::vector<SequenceSpan> spans;
    for (int32_t i = 0; i < sequences; ++i)
      spans.push_back({i * rows, rows, sizes.positions - rows, device_table + i * blocks});
    auto* device_spans = reinterpret_cast<SequenceSpan*>(device_table + table.size() + 64);
    upload(device_table, table.data(), static_cast<int64_t>(table.size() * sizeof(int32_t)));
    upload(device_spans, spans.data(), static_cast<int64_t>(spans.size() * sizeof(spans[0])));
    AttentionArgs args;
    args.query = {source.data(), DType::kF32, int64_t{sequences} * rows, kQueryCols, kQueryCols};
    args.kv = kv_view(dtype);
    args.sequences = device_spans;
    args.num_sequences = sequences;
    args.scale = 0.01f;
    args.target = {target.data(), DType::kF32, int64_t{sequences} * rows, kQueryCols, kQueryCols};
    return args;
  }

  // `work` per second.
  Rate attention_rate(const AttentionArgs& args, int64_t kv_bytes, double work) {
    return measure_rate(
        rounds, [&] { return work / time(kv_bytes, [&] { kernels.attention(args, *stream); }); });
  }
};

ComputeProbe::ComputeProbe(Device& device, Kernels& kernels, int64_t most_rows, ProbeRounds rounds)
    : state_(std::make_unique<State>(device, kernels, rounds)) {
  ProbeSizes large = kLarge;
  large.most_rows = most_rows;
  if (state_->own_memory) {
    state_->allocate(kSmall);
    if (!state_->quick()) return;
    large.weights_bytes = kDeviceBytes;
  }
  state_->allocate(large);
}

ComputeProbe::~ComputeProbe() = default;

std::optional<GemmRates> ComputeProbe::gemm(const WeightKind& kind, std::span<const int64_t> rows) {
  State& state = *state_;
  GemmRates rates{.weights = kind.dtype,
                  .int8_activations = kind.int8_activations,
                  .points = {},
                  .layout = kind.layout};
  try {
    state.product_rate(state.product(kind, rows.front()), 1);
  } catch (const InternalError&) {  // the backend refuses such arguments
    return std::nullopt;
  }
  for (const int64_t count : rows) {
    if (count > state.sizes.most_rows) break;
    const LinearArgs args = state.product(kind, count);
    const bool several = state.own_memory || count <= kFewRows;
    const int64_t copies = several ? state.sizes.weights_bytes / args.weight.bytes() : 1;
    rates.points.push_back(
        {count, measure_rate(state.rounds, [&] { return state.product_rate(args, copies); })});
  }
  return rates;
}

Rate ComputeProbe::attention(DType dtype) {
  const ProbeSizes& sizes = state_->sizes;
  const int64_t sequence_bytes =
      sizes.positions / kBlockTokens * state_->kv_view(dtype).block_bytes;
  const int64_t sequences = std::min(sizes.weights_bytes / sequence_bytes, sizes.most_rows);
  const int64_t bytes = sequences * sequence_bytes;
  return state_->attention_rate(state_->attention(dtype, static_cast<int32_t>(sequences), 1), bytes,
                                static_cast<double>(bytes));
}

Rate ComputeProbe::prompt_attention(DType dtype) {
  const ProbeSizes& sizes = state_->sizes;
  const auto rows = static_cast<int32_t>(std::min<int64_t>(sizes.prompt_rows, sizes.most_rows));
  const double seen = rows * (sizes.positions - (rows - 1) / 2.0);
  return state_->attention_rate(state_->attention(dtype, 1, rows), sizes.weights_bytes,
                                4.0 * seen * static_cast<double>(kQueryCols));
}

double ComputeProbe::launch_seconds() {
  const int operations = state_->own_memory ? 1 : 1000;
  const Rate seconds = measure_rate(state_->rounds, [&] {
    return state_->time(0, [&] { state_->enqueue_small_products(operations); }) / operations;
  });
  return seconds.median;
}

Rate host_memory_rate(const ProbeRounds& rounds) {
  const Buffer memory = allocate_host(kHostBytes);
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
