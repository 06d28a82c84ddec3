// Tiny models and what transformers computes with them (tests/golden).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cpu/cpu_device.h"
#include "cpu/cpu_kernels.h"
#include "offload/generator.h"
#include "offload/pack.h"
#include "offload/packed_store.h"
#include "tests/support/temp_dir.h"

namespace zerostream {

// One prompt of a case: its greedy continuation, and logits [positions.size(), vocab_size] at
// positions of both together.
struct GoldenPrompt {
  std::vector<int32_t> token_ids;
  std::vector<int32_t> generated;
  std::vector<int32_t> positions;
  std::vector<float> logits;
};

std::vector<std::string> golden_names();  // of tiny checkpoints with expected results
std::string golden_path(const std::string& name);
std::vector<GoldenPrompt> golden_prompts(const std::string& name);

// A store and what runs it.
struct GoldenSubject {
  const PackedStore& store;
  Device& device;
  Kernels& kernels;
};

// A golden checkpoint packed into a folder of its own, and a CPU to run it on.
class GoldenModel {
 public:
  // path: checkpoint, as golden_path() or a file in it.
  GoldenModel(const std::string& path, std::optional<DType> dtype,
              CpuDeviceOptions device = {.threads = 2});
  GoldenModel(const std::string& path, const PackOptions& options,
              CpuDeviceOptions device = {.threads = 2});
  const PackedStore& store() const { return *store_; }
  CpuDevice& device() { return *device_; }
  Kernels& kernels() { return *kernels_; }
  GoldenSubject subject() { return {*store_, *device_, *kernels_}; }
  std::string folder() const { return folder_.file("store"); }

 private:
  TempDir folder_;
  std::optional<PackedStore> store_;
  std::unique_ptr<CpuDevice> device_;
  std::unique_ptr<CpuKernels> kernels_;
};

// Options for tiny models: little memory, everything streamed unless said otherwise.
RuntimeOptions tiny_options(PlacementKind placement = PlacementKind::kNvme);

// Runs the requests through a Generator; results by handle (the request's index).
std::vector<GenerationResult> generate_all(Generator& generator,
                                           std::vector<GenerationRequest> requests);

// Prompts of up to 30 tokens, greedy and not, with log-probabilities.
std::vector<GenerationRequest> random_requests(uint64_t seed, int count, int32_t vocab_size);
// Tokens and the bits of all their log-probabilities.
std::vector<uint32_t> text_bits(const GenerationResult& result);

// Raw logits [logit rows of the batch, vocab_size] of one row's tokens from the start, in chunks of
// at most `chunk` tokens; logits are wanted at `positions`. `device`: the runtime's.
std::vector<float> compute_logits(ModelRuntime& runtime, Device& device,
                                  const std::vector<int32_t>& tokens,
                                  const std::vector<int32_t>& positions, int32_t chunk);

// Logits are those of `name`: no further from them than `tolerance` times the largest.
void expect_golden_logits(const GoldenSubject& subject, const RuntimeOptions& options,
                          const std::string& name, double tolerance);
// The same by the mean squared error over the mean square.
void expect_golden_logits_near(const GoldenSubject& subject, const RuntimeOptions& options,
                               const std::string& name, double bound);
void expect_golden_text(const GoldenSubject& subject, const RuntimeOptions& options,
                        const std::string& name);

}  // namespace zerostream
