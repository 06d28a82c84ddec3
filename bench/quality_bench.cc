// What quantisation costs: predictions of stores of a model beside those of its fp32 store.
//
//   quality_bench [--model FILE] [--stores DIR] [--window 512] [--tokens N] [--only NAME] TEXT...
//
// Cuts the texts into windows of tokens, each a row of its own, and runs every window through the
// reference and through each kind of store, side by side. Prints, over all positions that have a
// next token: mean KL divergence from the reference, how often the most probable token is the same,
// and the perplexity of the text. --tokens: at most so many of each text; --only: kinds whose name
// contains it. Stores are made in --stores and removed.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "bench/command_line.h"
#include "bench/divergence.h"
#include "cpu/cpu_device.h"
#include "cpu/cpu_kernels.h"
#include "model/checkpoint.h"
#include "model/tokenizer.h"
#include "offload/model_runtime.h"
#include "offload/pack.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int32_t kChunk = 128;  // tokens of a pass

struct Options {
  std::string model = "models/SmolLM2-135M-Instruct.Q4_1.gguf";
  std::string stores = "/tmp/quality_bench";
  std::string only;
  size_t window = 512;
  size_t tokens = SIZE_MAX;
  std::vector<std::string> texts;
};

void add_options(CLI::App& app, Options& options) {
  app.add_option("texts", options.texts, "Files of text to score")->required();
  app.add_option("--model", options.model, "Checkpoint");
  app.add_option("--stores", options.stores, "Folder of the stores that are made");
  app.add_option("--only", options.only, "Kinds whose name has this in it");
  app.add_option("--window", options.window, "Tokens of a context")
      ->check(CLI::Range(size_t{2}, SIZE_MAX));
  app.add_option("--tokens", options.tokens, "Of each text at most");
}

// A store and how it runs.
struct Kind {
  std::string name;
  PackOptions pack;
  bool int8_activations = false;
  std::optional<DType> kv_dtype;
};

Kind quantised(DType dtype, int32_t group_size, bool asymmetric) {
  Kind kind;
  kind.name = std::string(dtype_name(dtype)) + " group " + std::to_string(group_size) +
              (asymmetric ? " asymmetric" : "");
  kind.pack.dtype = dtype;
  kind.pack.group_size = group_size;
  kind.pack.asymmetric = asymmetric;
  return kind;
}

Kind plain(DType dtype) {
  Kind kind{.name = std::string(dtype_name(dtype)), .pack = {}, .kv_dtype = {}};
  kind.pack.dtype = dtype;
  return kind;
}

std::vector<Kind> all_kinds() {
  std::vector<Kind> kinds = {plain(DType::kF16), plain(DType::kBF16)};
  const auto add = [&](Kind kind, const std::string& with) -> Kind& {
    kind.name += with;
    kinds.push_back(kind);
    return kinds.back();
  };
  add(plain(DType::kF32), ", KV int8").kv_dtype = DType::kI8;
  add(plain(DType::kBF16), ", KV int8").kv_dtype = DType::kI8;
  for (const DType dtype : {DType::kI8, DType::kI4})
    for (const bool asymmetric : {false, true})
      for (const int32_t group_size : {32, 64, 128})
        add(quantised(dtype, group_size, asymmetric), "");
  for (const DType dtype : {DType::kI8, DType::kI4}) {
    add(quantised(dtype, 64, false), ", head too").pack.quantise_head = true;
    add(quantised(dtype, 64, false), ", KV int8").kv_dtype = DType::kI8;
    add(quantised(dtype, 64, false), ", int8 activations").int8_activations = true;
    add(quantised(dtype, 128, false), ", int8 activations").int8_activations = true;
  }
  return kinds;
}

// A store that runs, removed at the end.
class Subject {
 public:
  Subject(const Options& options, const Kind& kind, const std::string& folder)
      : folder_(options.stores + "/" + folder) {
    std::filesystem::remove_all(folder_);
    pack_store(Checkpoint::open(options.model), folder_, kind.pack);
    store_ = PackedStore::open(folder_);
    kernels_.emplace(device_, store_->config().vocab_size);
    RuntimeOptions runtime;
    runtime.placement.kind = PlacementKind::kHost;
    runtime.host_memory = int64_t{2} << 30;
    runtime.max_sequences = kChunk;
    runtime.token_budget = kChunk;
    runtime.kv_dtype = kind.kv_dtype;
    runtime.int8_activations = kind.int8_activations;
    runtime.workload = {.rows = 1,
                        .mean_prompt_tokens = static_cast<double>(options.window),
                        .mean_new_tokens = 1,
                        .longest_prompt_tokens = static_cast<int64_t>(options.window),
                        .longest_row_tokens = static_cast<int64_t>(options.window) + 1};
    runtime_.emplace(*store_, device_, *kernels_, runtime);
  }
  ~Subject() {
    runtime_.reset();
    std::filesystem::remove_all(folder_);
  }

  void begin(size_t tokens) {
    blocks_.resize(runtime_->kv_blocks().blocks_for(static_cast<int64_t>(tokens)));
    for (int32_t& block : blocks_) block = runtime_->kv_blocks().take();
  }
  // Logits of each position; valid until the next call.
  TensorView compute(std::span<const int32_t> tokens, int32_t position) {
    PassBatch batch;
    const auto count = static_cast<int32_t>(tokens.size());
    batch.sequences.push_back({0, count, position, blocks_.data()});
    batch.tokens.assign(tokens.begin(), tokens.end());
    for (int32_t i = 0; i < count; ++i) {
      batch.positions.push_back(position + i);
      batch.logit_rows.push_back(i);
    }
    const std::vector<SampleRow> rows(tokens.size());
    std::vector<SampleResult> results(tokens.size());
    runtime_->scheduler().run(batch, rows.data(), results.data());
    return runtime_->scheduler().logits();
  }
  void end() { runtime_->kv_blocks().release(blocks_); }

 private:
  const std::string folder_;
  CpuDevice device_{CpuDeviceOptions{}};
  std::optional<PackedStore> store_;
  std::optional<CpuKernels> kernels_;
  std::optional<ModelRuntime> runtime_;
  std::vector<int32_t> blocks_;
};

std::span<const float> row(const TensorView& logits, int64_t index) {
  return {logits.row_as<float>(index), static_cast<size_t>(logits.cols)};
}

void compare(Subject& reference, Subject& subject, std::span<const int32_t> window,
             Divergence& divergence) {
  reference.begin(window.size());
  subject.begin(window.size());
  for (size_t begin = 0; begin + 1 < window.size(); begin += kChunk) {
    const auto chunk = window.subspan(begin, std::min<size_t>(kChunk, window.size() - 1 - begin));
    const TensorView expected = reference.compute(chunk, static_cast<int32_t>(begin));
    const TensorView actual = subject.compute(chunk, static_cast<int32_t>(begin));
    for (size_t i = 0; i < chunk.size(); ++i)
      divergence.add(row(expected, static_cast<int64_t>(i)), row(actual, static_cast<int64_t>(i)),
                     window[begin + i + 1]);
  }
  reference.end();
  subject.end();
}

std::vector<std::vector<int32_t>> read_windows(const Options& options) {
  const auto tokenizer = load_tokenizer(options.model);
  std::vector<std::vector<int32_t>> windows;
  for (const std::string& path : options.texts) {
    std::ifstream stream(path, std::ios::binary);
    if (!stream) throw IoError("cannot read " + path, ENOENT);
    const std::string text{std::istreambuf_iterator<char>(stream), {}};
    std::vector<int32_t> tokens = tokenizer->encode(text, true);
    tokens.resize(std::min(tokens.size(), options.tokens));
    for (size_t begin = 0; begin + 1 < tokens.size(); begin += options.window)
      windows.emplace_back(
          tokens.begin() + static_cast<ptrdiff_t>(begin),
          tokens.begin() + static_cast<ptrdiff_t>(std::min(tokens.size(), begin + options.window)));
  }
  return windows;
}

void run(const Options& options) {
  const std::vector<std::vector<int32_t>> windows = read_windows(options);
  std::filesystem::create_directories(options.stores);
  Subject reference(options, plain(DType::kF32), "reference");
  bool first = true;
  for (const Kind& kind : all_kinds()) {
    if (kind.name.find(options.only) == std::string::npos) continue;
    Subject subject(options, kind, "subject");
    Divergence divergence;
    for (const std::vector<int32_t>& window : windows)
      compare(reference, subject, window, divergence);
    if (first)
      std::printf(
          "%zu windows, %lld positions; fp32: perplexity %.3f\n\n"
          "| store | mean KL, nats | top-1 agreement | perplexity |\n|---|---|---|---|\n",
          windows.size(), static_cast<long long>(divergence.positions()),
          divergence.reference_perplexity());
    first = false;
    std::printf("| %s | %.6f | %.2f %% | %.3f |\n", kind.name.c_str(), divergence.mean_kl(),
                100 * divergence.top1_agreement(), divergence.perplexity());
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace zerostream

int main(int argc, char** argv) {
  using namespace zerostream;
  CLI::App app("How far quantised weights and caches are from fp32");
  Options options;
  add_options(app, options);
  return run_bench(app, argc, argv, [&] { run(options); });
}
