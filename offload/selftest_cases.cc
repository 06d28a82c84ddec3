#include "offload/selftest_cases.h"

#include <cmath>
#include <cstring>
#include <random>

namespace zerostream {
namespace {

constexpr int32_t kBlockTokens = 16, kKvHeads = 2, kHeadDim = 64, kQueryHeads = 8;
constexpr int64_t kQueryCols = int64_t{kQueryHeads} * kHeadDim;
constexpr double kFp32Limit = 1e-10, kHalfLimit = 1e-4;  // of fp32 sums; of results in 16 bits

constexpr int64_t kManyRows = 256;  // where products go another way on a GPU

// Of results and their inputs.
double moved(std::initializer_list<TensorView> views) {
  double bytes = 0;
  for (const TensorView& view : views)
    bytes += static_cast<double>(dtype_bytes(view.dtype, view.rows * view.cols));
  return bytes;
}

std::function<std::vector<float>()> result_of(KernelBench& bench, TensorView view) {
  return [&bench, view] { return bench.floats(view); };
}

KernelWork embed_work(KernelBench& bench, bool large) {
  const int64_t rows = large ? 1024 : 5, cols = large ? 4096 : 96, table = large ? 4096 : 20;
  EmbedArgs args;
  args.dtype = DType::kBF16;
  args.table = bench.matrix(args.dtype, table, cols, 1).data;
  std::vector<int64_t> offsets;
  for (int64_t i = 0; i < rows; ++i)
    offsets.push_back(dtype_bytes(args.dtype, (i * 7 + 3) % table * cols));
  args.byte_offsets = bench.put(offsets);
  args.target = bench.matrix(DType::kF32, rows, cols, 0);
  const double bytes = static_cast<double>(rows * cols) * 6;
  return {[&bench, args] { bench.kernels().embed(args, bench.stream()); },
          result_of(bench, args.target), bytes};
}

KernelWork norm_work(KernelBench& bench, bool large, NormKind kind) {
  const int64_t rows = large ? 1024 : 5, cols = large ? 4096 : 96;
  NormArgs args;
  args.kind = kind;
  args.source = bench.matrix(DType::kF32, rows, cols, 1);
  args.weight = reinterpret_cast<const float*>(bench.matrix(DType::kF32, 1, cols, 2).data);
  args.target = bench.matrix(DType::kF16, rows, cols, 0);
  return {[&bench, args] { bench.kernels().norm(args, bench.stream()); },
          result_of(bench, args.target), moved({args.source, args.target})};
}

KernelWork convert_work(KernelBench& bench, bool large) {
  const int64_t rows = large ? 1024 : 5, cols = large ? 4096 : 96;
  const ConvertArgs args{bench.matrix(DType::kF32, rows, cols, 1),
                         bench.matrix(DType::kBF16, rows, cols, 0), nullptr};
  return {[&bench, args] { bench.kernels().convert(args, bench.stream()); },
          result_of(bench, args.target), moved({args.source, args.target})};
}

KernelWork linear_work(KernelBench& bench, bool large, DType dtype, WeightLayout layout,
                       int64_t large_rows) {
  const int64_t small_rows = large_rows > kManyRows ? kManyRows : std::min<int64_t>(large_rows, 3);
  const int64_t rows = large ? large_rows : small_rows;
  const int64_t outputs = large ? 4096 : 128, inputs = large ? 4096 : 256;
  LinearArgs args;
  args.weight.dtype = dtype;
  args.weight.layout = layout;
  args.weight.outputs = outputs;
  args.weight.inputs = inputs;
  args.weight.group_size = is_quantised(dtype) ? 64 : 0;
  args.weight.data = bench.words(args.weight.bytes(), 1);
  args.source = bench.matrix(is_quantised(dtype) ? DType::kBF16 : dtype, rows, inputs, 2);
  args.target = bench.matrix(DType::kF32, rows, outputs, 0);
  return {[&bench, args] { bench.kernels().linear(args, bench.stream()); },
          result_of(bench, args.target),
          static_cast<double>(args.weight.bytes()) + moved({args.source, args.target}),
          2.0 * static_cast<double>(rows * outputs * inputs)};
}

KernelCase linear_case(DType dtype, WeightLayout layout, int64_t rows) {
  return {"product, " + std::string(dtype_name(dtype)) +
              (layout == WeightLayout::kRows ? " in rows, " : " weights, ") +
              (rows == 1 ? "a row" : std::to_string(rows) + " rows"),
          dtype == DType::kF32 ? kFp32Limit : kHalfLimit, [=](KernelBench& bench, bool large) {
            return linear_work(bench, large, dtype, layout, rows);
          }};
}

KvLayerView kv_view(DType dtype) {
  KvLayerView view;
  view.dtype = dtype;
  view.block_bytes =
      round_up(KvLayerView::content_bytes(dtype, kBlockTokens, kKvHeads, kHeadDim), kTileBytes);
  view.block_tokens = kBlockTokens;
  view.num_key_value_heads = kKvHeads;
  view.head_dim = kHeadDim;
  return view;
}

// Sequences of `rows` rows each at the end of `positions`, with blocks of their own.
std::vector<SequenceSpan> spans(KernelBench& bench, int32_t sequences, int32_t rows,
                                int32_t positions) {
  std::vector<SequenceSpan> all;
  const int32_t blocks = positions / kBlockTokens + 1;
  for (int32_t i = 0; i < sequences; ++i) {
    std::vector<int32_t> table;
    for (int32_t block = 0; block < blocks; ++block) table.push_back(i * blocks + block);
    all.push_back({i * rows, rows, positions - rows, bench.put(table)});
  }
  return all;
}

int64_t pool_bytes(const KvLayerView& view, int32_t sequences, int32_t positions) {
  return sequences * (positions / kBlockTokens + 1) * view.block_bytes;
}

KernelWork write_kv_work(KernelBench& bench, bool large) {
  const int32_t sequences = large ? 64 : 2, rows = large ? 16 : 3, positions = large ? 64 : 20;
  const int64_t tokens = int64_t{sequences} * rows;
  WriteKvArgs args;
  args.qkv = bench.matrix(DType::kF32, tokens, (kQueryHeads + 2 * kKvHeads) * kHeadDim, 1);
  args.rope = RopeKind::kHalf;
  args.rope_cols = kHeadDim / 2;
  args.rope_cos =
      reinterpret_cast<const float*>(bench.matrix(DType::kF32, tokens, args.rope_cols, 2).data);
  args.rope_sin =
      reinterpret_cast<const float*>(bench.matrix(DType::kF32, tokens, args.rope_cols, 3).data);
  args.sequences = bench.put(spans(bench, sequences, rows, positions));
  args.num_sequences = sequences;
  args.kv = kv_view(DType::kF32);
  const int64_t bytes = pool_bytes(args.kv, sequences, positions);
  args.kv.base = bench.words(bytes, 4);
  args.query = bench.matrix(DType::kF32, tokens, kQueryCols, 0);
  const int64_t numbers = bytes / int64_t{sizeof(float)};
  return {[&bench, args] { bench.kernels().write_kv(args, bench.stream()); },
          [&bench, args, numbers] {
            std::vector<float> all = bench.floats(args.query);
            const auto pool = bench.floats({args.kv.base, DType::kF32, 1, numbers, numbers});
            all.insert(all.end(), pool.begin(), pool.end());
            return all;
          },
          2 * moved({args.qkv})};
}

KernelWork attention_work(KernelBench& bench, bool large, bool prompt) {
  const int32_t sequences = prompt ? 1 : large ? 64 : 3;
  const int32_t positions = large ? 1024 : 40, rows = !prompt ? 1 : large ? 512 : 20;
  const int64_t tokens = int64_t{sequences} * rows;
  AttentionArgs args;
  args.query = bench.matrix(DType::kF32, tokens, kQueryCols, 1);
  args.kv = kv_view(DType::kBF16);
  args.kv.base = bench.words(pool_bytes(args.kv, sequences, positions), 2);
  args.sequences = bench.put(spans(bench, sequences, rows, positions));
  args.num_sequences = sequences;
  args.scale = 1 / std::sqrt(static_cast<float>(kHeadDim));
  args.target = bench.matrix(DType::kF32, tokens, kQueryCols, 0);
  const double read = static_cast<double>(sequences) * positions * kKvHeads * kHeadDim * 2 * 2;
  const double pairs = static_cast<double>(tokens) * (positions - rows / 2.0) * kQueryHeads;
  return {[&bench, args] { bench.kernels().attention(args, bench.stream()); },
          result_of(bench, args.target), read + moved({args.query, args.target}),
          4 * pairs * kHeadDim};
}

// Greedy rows and such that draw.
KernelWork sample_work(KernelBench& bench, bool large) {
  const int64_t rows = large ? 64 : 4, vocabulary = large ? 32000 : 150;
  SampleArgs args;
  args.logits = bench.matrix(DType::kF32, rows, vocabulary, 1);
  std::vector<SampleRow> settings(static_cast<size_t>(rows));
  for (size_t i = 0; i < settings.size(); ++i) {
    settings[i].seed = i;
    if (i % 2 == 1) settings[i].numbers = {.temperature = 0.8f, .top_k = 20, .top_p = 0.9f};
  }
  args.rows = bench.put(settings);
  args.results = bench.put(std::vector<SampleResult>(settings.size()));
  return {[&bench, args] { bench.kernels().sample(args, bench.stream()); },
          [&bench, args, count = settings.size()] {
            std::vector<SampleResult> results(count);
            bench.get(results.data(), args.results,
                      static_cast<int64_t>(count * sizeof(SampleResult)));
            std::vector<float> tokens;
            for (const SampleResult& result : results)
              tokens.push_back(static_cast<float>(result.token));
            return tokens;
          },
          moved({args.logits})};
}

KernelWork softmax_work(KernelBench& bench, bool large) {
  const int64_t rows = large ? 128 : 4, vocabulary = large ? 32000 : 150;
  AccumulateSoftmaxArgs args;
  args.logits = bench.matrix(DType::kF32, rows, vocabulary, 1);
  const auto count = static_cast<size_t>(rows);
  args.targets = bench.put(std::vector<int32_t>(count, 17));
  args.states = bench.put(std::vector<SoftmaxState>(count));
  return {[&bench, args] { bench.kernels().accumulate_softmax(args, bench.stream()); },
          [&bench, args, count] {
            std::vector<SoftmaxState> states(count);
            bench.get(states.data(), args.states,
                      static_cast<int64_t>(count * sizeof(SoftmaxState)));
            std::vector<float> all;
            for (const SoftmaxState& state : states) all.push_back(state.logprob());
            return all;
          },
          moved({args.logits})};
}

}  // namespace

KernelBench::KernelBench(Device& device, Kernels& kernels)
    : device_(device), kernels_(kernels), stream_(device.make_compute_stream()) {}

std::byte* KernelBench::put(const void* data, int64_t bytes) {
  memory_.push_back(device_.allocate(bytes));
  stream_->copy(memory_.back().data(), data, bytes);
  stream_->synchronize();
  return memory_.back().data();
}

void KernelBench::get(void* target, const void* source, int64_t bytes) {
  stream_->copy(target, source, bytes);
  stream_->synchronize();
}

TensorView KernelBench::matrix(DType dtype, int64_t rows, int64_t cols, uint64_t seed) {
  std::vector<std::byte> bytes(static_cast<size_t>(dtype_bytes(dtype, rows * cols)));
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; seed != 0 && i < rows * cols; ++i)
    store_float(bytes.data(), dtype, i, normal(random));
  return {put(bytes), dtype, rows, cols, cols};
}

std::byte* KernelBench::words(int64_t bytes, uint64_t seed) {
  std::vector<uint16_t> words(static_cast<size_t>(bytes / 2));
  std::mt19937_64 random(seed);
  for (uint16_t& word : words) word = static_cast<uint16_t>((random() & 0x83ffu) | 0x3c00u);
  return reinterpret_cast<std::byte*>(put(words));
}

std::vector<float> KernelBench::floats(const TensorView& view) {
  std::vector<std::byte> bytes(static_cast<size_t>(dtype_bytes(view.dtype, view.rows * view.cols)));
  get(bytes.data(), view.data, static_cast<int64_t>(bytes.size()));
  std::vector<float> numbers(static_cast<size_t>(view.rows * view.cols));
  for (size_t i = 0; i < numbers.size(); ++i)
    numbers[i] = load_float(bytes.data(), view.dtype, static_cast<int64_t>(i));
  return numbers;
}

std::vector<KernelCase> kernel_cases() {
  std::vector<KernelCase> cases = {
      {"embed", kFp32Limit, embed_work},
      {"layer norm", kHalfLimit,
       [](auto& bench, bool large) { return norm_work(bench, large, NormKind::kLayerNorm); }},
      {"rms norm", kHalfLimit,
       [](auto& bench, bool large) { return norm_work(bench, large, NormKind::kRmsNorm); }},
      {"convert", kHalfLimit, convert_work}};
  for (const int64_t rows : {int64_t{1}, int64_t{128}, int64_t{2048}})
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kI8, DType::kI4})
      cases.push_back(linear_case(dtype, WeightLayout::kTile64, rows));
  for (const DType dtype : {DType::kF16, DType::kBF16})
    cases.push_back(linear_case(dtype, WeightLayout::kRows, 2048));
  cases.push_back({"write kv", kFp32Limit, write_kv_work});
  cases.push_back({"attention, a row each", kHalfLimit,
                   [](auto& bench, bool large) { return attention_work(bench, large, false); }});
  cases.push_back({"attention, a prompt", kHalfLimit,
                   [](auto& bench, bool large) { return attention_work(bench, large, true); }});
  cases.push_back({"sample", 0, sample_work});
  cases.push_back({"softmax of scores", kFp32Limit, softmax_work});
  return cases;
}

}  // namespace zerostream
