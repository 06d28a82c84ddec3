// Whole models on the emulated GPU: weights streamed and resident, beside what transformers
// computes.
#include <gmock/gmock.h>

#include <chrono>
#include <cmath>
#include <random>

#include "gpu/cuda_device.h"
#include "gpu/cuda_kernels.h"
#include "nvme/faulty_engine.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/offload/golden_case.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int64_t kDeviceBytes = int64_t{64} << 20;

RuntimeOptions cuda_options(const Placement& placement) {
  RuntimeOptions options = tiny_options();
  options.placement = placement;
  options.kv_placement = {.kind = PlacementKind::kHost, .device = Share{}};
  options.device_memory = kDeviceBytes;
  return options;
}

const Placement kDevice = {.kind = PlacementKind::kHost, .device = Share{}};
const Placement kHost = {.kind = PlacementKind::kHost};
const Placement kNvme = {.kind = PlacementKind::kNvme};
// A third each.
const Placement kSpread = {.kind = PlacementKind::kShares,
                           .device = Share{Share::Kind::kFraction, 0, 0.35},
                           .host = Share{Share::Kind::kFraction, 0, 0.35},
                           .nvme = Share{}};

// Blocks and slots so small that every pass brings most of its keys and values from there.
RuntimeOptions with_kv(const Placement& placement, RuntimeOptions options) {
  options.kv_placement = placement;
  options.kv_slot_bytes = kTileBytes;
  options.block_tokens = 2;
  options.max_sequences = 3;
  options.token_budget = 5;
  options.workload = {.rows = 3,
                      .mean_prompt_tokens = 20,
                      .mean_new_tokens = 24,
                      .longest_prompt_tokens = 40,
                      .longest_row_tokens = 70};
  return options;
}

// A golden model in a store, and a GPU to run it on.
class GoldenOnCuda {
 public:
  // unpack_bytes: see KernelLimits.
  GoldenOnCuda(const std::string& name, DType dtype, int64_t unpack_bytes = 0)
      : model_(golden_path(name), dtype),
        kernels_(device_, {.max_vocabulary = model_.store().config().vocab_size,
                           .unpack_bytes = unpack_bytes}) {}
  GoldenSubject subject() { return {model_.store(), device_, kernels_}; }

 private:
  GoldenModel model_;
  CudaDevice device_;
  CudaKernels kernels_;
};

class GoldenCuda : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { cuda_emulator::reset(); }
  void TearDown() override { cuda_emulator::reset(); }
};

TEST_P(GoldenCuda, GreedyTextFromEveryTier) {
  GoldenOnCuda model(GetParam(), DType::kF32);
  for (const Placement& placement : {kDevice, kNvme, kSpread})
    expect_golden_text(model.subject(), cuda_options(placement), GetParam());
}

TEST_P(GoldenCuda, GreedyTextWithKeysAndValuesElsewhere) {
  GoldenOnCuda model(GetParam(), DType::kF32);
  for (const Placement& kv : {kHost, kNvme})
    expect_golden_text(model.subject(), with_kv(kv, cuda_options(kSpread)), GetParam());
}

TEST_P(GoldenCuda, LogitsInFp32) {
  GoldenOnCuda model(GetParam(), DType::kF32);
  expect_golden_logits(model.subject(), cuda_options(kHost), GetParam(), 1e-4);
}

TEST_P(GoldenCuda, LogitsInHalfPrecision) {
  GoldenOnCuda bf16(GetParam(), DType::kBF16);
  expect_golden_logits_near(bf16.subject(), cuda_options(kNvme), GetParam(), 2e-3);
  GoldenOnCuda fp16(GetParam(), DType::kF16);
  expect_golden_logits_near(fp16.subject(), cuda_options(kNvme), GetParam(), 5e-5);
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenCuda, testing::ValuesIn(golden_names()),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

class CudaStreaming : public testing::Test {
 protected:
  void SetUp() override { cuda_emulator::reset(); }
  void TearDown() override { cuda_emulator::reset(); }
};

// Log-probabilities of 400 tokens, all in one pass.
std::vector<float> scores_of_one_pass(const GoldenSubject& subject) {
  std::mt19937 random(7);
  std::vector<GenerationRequest> requests(20);
  for (GenerationRequest& request : requests) {
    request.purpose = Purpose::kScore;
    for (int i = 0; i < 20; ++i)
      request.prompt_tokens.push_back(static_cast<int32_t>(
          random() % static_cast<uint32_t>(subject.store.config().vocab_size)));
  }
  RuntimeOptions options = cuda_options(kNvme);
  options.max_sequences = 20;
  options.token_budget = 400;
  Generator generator(subject.store, subject.device, subject.kernels, nullptr, options);
  std::vector<float> scores;
  for (const GenerationResult& result : generate_all(generator, requests))
    scores.insert(scores.end(), result.prompt_logprobs.begin(), result.prompt_logprobs.end());
  EXPECT_EQ(generator.statistics().prefill_passes, 1);
  return scores;
}

// With a slot for every segment nothing needs what callbacks do; on a GPU each takes its time.
TEST_F(CudaStreaming, APassDoesNotWaitForCallbacks) {
  constexpr int kCallbackMilliseconds = 100;
  GoldenOnCuda model("llama2", DType::kF32);
  const GoldenSubject subject = model.subject();
  RuntimeOptions options = cuda_options(kHost);
  const int64_t segments = std::ssize(subject.store.segments());
  options.prefetch_depth = static_cast<int32_t>(segments);
  Generator generator(subject.store, subject.device, subject.kernels, nullptr, options);
  const auto seconds_of_pass = [&] {
    GenerationRequest request;
    request.prompt_tokens = {1, 5, 7};
    request.max_new_tokens = 1;
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(generate_all(generator, {request}).front().token_ids.size(), 1u);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  const double quick = seconds_of_pass();
  cuda_emulator::reset({.callback_delay_us = 1000 * kCallbackMilliseconds});
  EXPECT_LT(seconds_of_pass(),
            quick + 1e-3 * kCallbackMilliseconds * static_cast<double>(segments));
}

TEST_F(CudaStreaming, ManyTokensMayUnpackWeights) {
  for (const DType dtype : {DType::kBF16, DType::kI4}) {
    GoldenOnCuda few("llama2", dtype), many("llama2", dtype, 1 << 20);
    const std::vector<float> expected = scores_of_one_pass(few.subject());
    const int64_t launches = cuda_emulator::counters().launches;
    const std::vector<float> actual = scores_of_one_pass(many.subject());
    EXPECT_GT(cuda_emulator::counters().launches - launches, launches) << dtype_name(dtype);
    ASSERT_EQ(actual.size(), expected.size());
    double error = 0, power = 0;
    for (size_t i = 0; i < actual.size(); ++i) {
      error += std::pow(actual[i] - expected[i], 2);
      power += std::pow(expected[i], 2);
    }
    EXPECT_LT(error / power, 1e-4) << dtype_name(dtype);
    cuda_emulator::reset();
  }
}

TEST_F(CudaStreaming, EveryTierHoldsItsShare) {
  GoldenOnCuda model("llama2", DType::kF32);
  const GoldenSubject subject = model.subject();
  ModelRuntime runtime(subject.store, subject.device, subject.kernels, cuda_options(kSpread));
  RunStatistics statistics;
  runtime.update(statistics);
  EXPECT_TRUE(statistics.own_memory);
  EXPECT_GT(statistics.resident_bytes, 0);
  EXPECT_GT(statistics.host_bytes, 0);
  EXPECT_LT(statistics.resident_bytes + statistics.host_bytes, statistics.weights_bytes);
}

// What the plan promises of the device's memory holds, and nothing is allocated, the host waits for
// the device but once for each pass (who writes keys and values elsewhere has a thread of its own),
// and no copy is of pageable memory.
TEST_F(CudaStreaming, PassesOnlyEnqueue) {
  GoldenOnCuda model("llama2", DType::kF32);
  const GoldenSubject subject = model.subject();
  std::vector<GenerationRequest> requests(6);
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i].prompt_tokens = {1, static_cast<int32_t>(5 + i), 7};
    requests[i].max_new_tokens = 14 + static_cast<int32_t>(i);
    requests[i].sampling.repetition_penalty = 1.1f;
  }
  for (const Placement& kv : {kDevice, kHost, kNvme}) {
    cuda_emulator::reset();
    const auto before = static_cast<int64_t>(cuda_emulator::allocated_bytes());
    Generator generator(subject.store, subject.device, subject.kernels, nullptr,
                        with_kv(kv, cuda_options(kSpread)));
    int64_t planned = 0;
    for (const PoolBytes& pool : generator.plan().pools) planned += pool.bytes;
    constexpr int64_t kRounding = 8 * kTileBytes;  // of pools to whole pages
    EXPECT_LE(static_cast<int64_t>(cuda_emulator::allocated_bytes()) - before,
              planned - subject.device.scratch_bytes() + kRounding);

    generate_all(generator, requests);
    cuda_emulator::reset({.forbid_pageable_copies = true});
    const int64_t waits = cuda_emulator::own_host_synchronisations();
    const RunStatistics first = generator.statistics();
    const std::vector<GenerationResult> results = generate_all(generator, requests);
    for (const GenerationResult& result : results) EXPECT_EQ(result.reason, FinishReason::kLength);
    const RunStatistics& statistics = generator.statistics();
    const int64_t passes = statistics.decode_passes + statistics.prefill_passes -
                           first.decode_passes - first.prefill_passes;
    EXPECT_GT(passes, 8);
    EXPECT_EQ(statistics.kv_bytes_read > 0, !kv.device);
    EXPECT_EQ(cuda_emulator::own_host_synchronisations() - waits, passes);
    EXPECT_EQ(cuda_emulator::counters().allocations, 0);
    EXPECT_EQ(cuda_emulator::counters().pageable_copies, 0);
  }
}

// Keys and values on the device, in host memory and on disk, passes cut in many ways: the same
// bits.
class CudaKvTiers : public CudaStreaming, public testing::WithParamInterface<DType> {};

TEST_P(CudaKvTiers, PlacementDoesNotShow) {
  GoldenOnCuda model("llama3", GetParam());
  const GoldenSubject subject = model.subject();
  const auto vocab_size = static_cast<int32_t>(subject.store.config().vocab_size);
  std::mt19937 random(5);
  for (int round = 0; round < 3; ++round) {
    const std::vector<GenerationRequest> requests = random_requests(random(), 8, vocab_size);
    std::vector<std::vector<uint32_t>> expected;
    for (const Placement& kv : {kDevice, kHost, kNvme}) {
      RuntimeOptions options = with_kv(kv, cuda_options(kSpread));
      options.kv_slot_bytes = kTileBytes << random() % 4;
      options.block_tokens = 1 + static_cast<int32_t>(random() % 5);
      options.max_sequences = 2 + static_cast<int32_t>(random() % 6);
      options.token_budget = options.max_sequences + static_cast<int32_t>(random() % 6);
      Generator generator(subject.store, subject.device, subject.kernels, nullptr, options);
      std::vector<std::vector<uint32_t>> results;
      for (const GenerationResult& result : generate_all(generator, requests))
        results.push_back(text_bits(result));
      if (expected.empty()) expected = results;
      EXPECT_EQ(generator.statistics().kv_bytes_read > 0, !kv.device);
      EXPECT_EQ(results, expected) << "round " << round << ", tokens " << options.block_tokens;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, CudaKvTiers, testing::Values(DType::kF32, DType::kBF16),
                         [](const auto& info) { return std::string(dtype_name(info.param)); });

// Delays of every operation and another order of threads change nothing.
TEST_F(CudaStreaming, SameTextInEveryOrderOfEvents) {
  for (const uint64_t seed : {uint64_t{1}, uint64_t{2}}) {
    cuda_emulator::reset({.schedule_seed = seed, .delay_us = 200});
    GoldenOnCuda model("qwen2", DType::kF32);
    RuntimeOptions options = cuda_options(kSpread);
    options.prefetch_depth = static_cast<int32_t>(seed);
    expect_golden_text(model.subject(), options, "qwen2");
    for (const Placement& kv : {kHost, kNvme})
      expect_golden_text(model.subject(), with_kv(kv, options), "qwen2");
  }
}

// Kernels wait for their weights, and what is copied stays until it has been.
TEST_F(CudaStreaming, SameTextOverASlowLink) {
  cuda_emulator::reset({.copy_delay_us = 500});
  GoldenOnCuda model("llama2", DType::kF32);
  RuntimeOptions options = cuda_options(kNvme);
  for (const int32_t depth : {0, 2}) {
    options.prefetch_depth = depth;
    expect_golden_text(model.subject(), options, "llama2");
  }
}

// Attention waits for its keys and values, a slot for its last reader, and a block for its way out,
// with more units than slots, over links that are slow or fast beside kernels.
TEST_F(CudaStreaming, SameTextOverAnyLinkForKeysAndValues) {
  GoldenOnCuda model("llama2", DType::kF32);
  const GoldenSubject subject = model.subject();
  const auto vocab_size = static_cast<int32_t>(subject.store.config().vocab_size);
  std::vector<GenerationRequest> requests = random_requests(9, 6, vocab_size);
  for (GenerationRequest& request : requests) {
    request.prompt_tokens.resize(20, static_cast<int32_t>(&request - requests.data()));
    request.max_new_tokens = 14;
  }
  const auto run = [&](const Placement& kv, int copy_delay_us) {
    cuda_emulator::reset({.copy_delay_us = copy_delay_us});
    RuntimeOptions options = with_kv(kv, cuda_options(kDevice));
    options.block_tokens = 1;
    options.max_sequences = 6;
    options.token_budget = 12;
    options.workload = {.rows = 6,
                        .mean_prompt_tokens = 20,
                        .mean_new_tokens = 14,
                        .longest_prompt_tokens = 20,
                        .longest_row_tokens = 34};
    Generator generator(subject.store, subject.device, subject.kernels, nullptr, options);
    std::vector<std::vector<uint32_t>> results;
    for (const GenerationResult& result : generate_all(generator, requests))
      results.push_back(text_bits(result));
    return results;
  };
  const std::vector<std::vector<uint32_t>> expected = run(kDevice, 0);
  for (const Placement& kv : {kHost, kNvme})
    for (const int copy_delay_us : {0, 1000}) EXPECT_EQ(run(kv, copy_delay_us), expected);
}

// Copies of keys and values to the host and back, and the disk between.
TEST_F(CudaStreaming, AFailedWayOfKeysAndValuesEndsTheRun) {
  GoldenOnCuda model("llama2", DType::kF32);
  const GoldenSubject subject = model.subject();
  std::vector<GenerationRequest> requests(3);
  for (GenerationRequest& request : requests) {
    request.prompt_tokens = {1, 2, 3};
    request.max_new_tokens = 40;
  }
  for (const Placement& kv : {kHost, kNvme})
    for (const int nth : {40, 41, 42, 43, 44, 45, 46, 47}) {
      cuda_emulator::reset();
      Generator generator(subject.store, subject.device, subject.kernels, nullptr,
                          with_kv(kv, cuda_options(kDevice)));
      cuda_emulator::fail_call("cudaMemcpyAsync", nth, cudaErrorUnknown);
      EXPECT_THAT([&] { generate_all(generator, requests); },
                  testing::ThrowsMessage<DeviceError>(testing::HasSubstr("cudaMemcpyAsync")))
          << nth;
    }
  cuda_emulator::reset();
  RuntimeOptions options = with_kv(kNvme, cuda_options(kDevice));
  for (const int broken : {1, 2}) {  // engines: for loading weights, for writing, for reading
    int made = 0;
    options.make_engine = [&] {
      return make_faulty_engine(make_io_engine(IoEngineKind::kThreads, 4, nullptr),
                                {.broken_probability = made++ == broken ? 1.0 : 0.0});
    };
    Generator generator(subject.store, subject.device, subject.kernels, nullptr, options);
    EXPECT_THROW(generate_all(generator, requests), IoError) << broken;
  }
}

TEST_F(CudaStreaming, AFailedKernelEndsTheRunWithItsName) {
  GoldenOnCuda model("llama2", DType::kF32);
  const GoldenSubject subject = model.subject();
  Generator generator(subject.store, subject.device, subject.kernels, nullptr, cuda_options(kNvme));
  std::vector<GenerationRequest> requests(1);
  requests[0].prompt_tokens = {1, 2, 3};
  cuda_emulator::fail_kernel(20);
  EXPECT_THAT([&] { generate_all(generator, requests); },
              testing::ThrowsMessage<DeviceError>(testing::HasSubstr("cudaErrorIllegalAddress")));
}

TEST_F(CudaStreaming, DamageIsFoundOnTheWay) {
  GoldenModel model(golden_path("llama2"), DType::kF32);
  const std::string weights = model.store().weights_path();
  std::string bytes = read_file(weights);
  const Segment& segment = model.store().segments()[2];
  bytes[static_cast<size_t>(segment.offset + 5)] ^= 1;
  write_file(weights, bytes);
  CudaDevice device;
  CudaKernels kernels(device, {.max_vocabulary = model.store().config().vocab_size});
  for (const Placement& placement : {kNvme, kHost, kDevice})
    EXPECT_THAT(
        [&] {
          expect_golden_text({model.store(), device, kernels}, cuda_options(placement), "llama2");
        },
        testing::ThrowsMessage<CheckpointError>(
            testing::AllOf(testing::HasSubstr(segment.name), testing::HasSubstr("damaged"))));
}

TEST_F(CudaStreaming, PlansSayWhichMemoryIsShort) {
  GoldenOnCuda model("llama2", DType::kF32);
  const GoldenSubject subject = model.subject();
  RuntimeOptions options = cuda_options(kDevice);
  options.device_memory = 100000;
  EXPECT_THAT([&] { ModelRuntime(subject.store, subject.device, subject.kernels, options); },
              testing::ThrowsMessage<InfeasibleError>(testing::HasSubstr("Raise device.memory")));
  options = with_kv(kHost, cuda_options(kDevice));
  options.host_memory = 20000;
  EXPECT_THAT([&] { ModelRuntime(subject.store, subject.device, subject.kernels, options); },
              testing::ThrowsMessage<InfeasibleError>(testing::AllOf(
                  testing::HasSubstr("Raise host.memory"), testing::HasSubstr("keys and values"))));
  options = cuda_options(kHost);
  options.host_memory = 200000;
  EXPECT_THAT([&] { ModelRuntime(subject.store, subject.device, subject.kernels, options); },
              testing::ThrowsMessage<InfeasibleError>(testing::HasSubstr("Raise host.memory")));
}

}  // namespace
}  // namespace zerostream
