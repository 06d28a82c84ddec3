// The engine's promises about whole runs, on a tiny model.
#include "offload/generator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "nvme/faulty_engine.h"
#include "tests/offload/golden_case.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

class GeneratorInvariance : public testing::TestWithParam<DType> {};

// The same row gives the same bits whatever the other rows, their order, the wave's limits, the
// depth, the engine and the placement.
TEST_P(GeneratorInvariance, RowsDoNotDependOnAnythingElse) {
  GoldenModel model(golden_path("llama3"), GetParam());
  std::vector<GenerationRequest> requests =
      random_requests(3, 12, static_cast<int32_t>(model.store().config().vocab_size));
  std::vector<std::vector<uint32_t>> expected;
  {
    RuntimeOptions alone = tiny_options(PlacementKind::kHost);
    alone.max_sequences = 1;
    Generator generator(model.store(), model.device(), model.kernels(), nullptr, alone);
    for (const GenerationResult& result : generate_all(generator, requests))
      expected.push_back(text_bits(result));
  }
  std::mt19937 random(4);
  for (int round = 0; round < 12; ++round) {
    RuntimeOptions options =
        tiny_options(random() % 3 == 0 ? PlacementKind::kHost : PlacementKind::kNvme);
    options.max_sequences = 1 + static_cast<int32_t>(random() % 12);
    options.token_budget = options.max_sequences + static_cast<int32_t>(random() % 60);
    options.prefetch_depth = static_cast<int32_t>(random() % 5);
    options.io_engine = random() % 2 ? IoEngineKind::kThreads : IoEngineKind::kAuto;
    options.block_tokens = random() % 2 ? 16 : 5;
    options.share_prefixes = random() % 2 == 0;
    options.direct = random() % 2 == 0;
    std::vector<size_t> order(requests.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), random);
    std::vector<GenerationRequest> shuffled;
    for (const size_t i : order) shuffled.push_back(requests[i]);
    Generator generator(model.store(), model.device(), model.kernels(), nullptr, options);
    const std::vector<GenerationResult> results = generate_all(generator, shuffled);
    for (size_t i = 0; i < order.size(); ++i)
      EXPECT_EQ(text_bits(results[i]), expected[order[i]]) << "round " << round;
  }
}

// Rows of which the first ones end at once, so that the wave expects little of the others, which
// run long; many begin alike.
std::vector<GenerationRequest> deceiving_requests(uint64_t seed, int32_t vocab_size) {
  std::mt19937_64 random(seed);
  std::vector<GenerationRequest> requests = random_requests(seed, 88, vocab_size);
  for (size_t i = 0; i < requests.size(); ++i) {
    GenerationRequest& request = requests[i];
    const size_t alike = random() % (request.prompt_tokens.size() + 1);
    std::fill_n(request.prompt_tokens.begin(), alike, 5);
    request.max_new_tokens = 40;
    if (i >= 64) continue;
    request.stop_token_ids.resize(vocab_size);
    for (int32_t token = 0; token < vocab_size; ++token) request.stop_token_ids[token] = token;
  }
  return requests;
}

// The same pools, but keys and values of one long row only.
RuntimeOptions with_tight_memory(GoldenModel& model, RuntimeOptions options) {
  Generator roomy(model.store(), model.device(), model.kernels(), nullptr, options);
  const MemoryPlan& plan = roomy.plan();
  int64_t bytes = 0;
  for (const PoolBytes& pool : plan.pools)
    bytes += pool.name == "kv cache" ? pool.bytes / plan.max_sequences : pool.bytes;
  options.host_memory = bytes;
  return options;
}

// Sharing beginnings, pausing and resuming, chunks and blocks of any size: the same bits.
TEST_P(GeneratorInvariance, KvMemoryDoesNotShowInTheText) {
  GoldenModel model(golden_path("llama3"), GetParam());
  const std::vector<GenerationRequest> requests =
      deceiving_requests(8, static_cast<int32_t>(model.store().config().vocab_size));
  RuntimeOptions options = tiny_options();
  options.prefetch_depth = 2;
  options.share_prefixes = false;
  std::vector<std::vector<uint32_t>> expected;
  {
    Generator generator(model.store(), model.device(), model.kernels(), nullptr, options);
    for (const GenerationResult& result : generate_all(generator, requests))
      expected.push_back(text_bits(result));
    EXPECT_EQ(generator.statistics().paused_rows, 0);
    EXPECT_EQ(generator.statistics().reused_tokens, 0);
  }
  for (const bool share : {false, true})
    for (const bool tight : {false, true})
      for (const auto& [block_tokens, token_budget] : {std::pair{16, 64}, {4, 19}}) {
        options.share_prefixes = share;
        options.block_tokens = block_tokens;
        options.token_budget = token_budget;
        options.host_memory = tiny_options().host_memory;
        if (tight) options = with_tight_memory(model, options);
        Generator generator(model.store(), model.device(), model.kernels(), nullptr, options);
        const std::vector<GenerationResult> results = generate_all(generator, requests);
        for (size_t i = 0; i < results.size(); ++i)
          EXPECT_EQ(text_bits(results[i]), expected[i])
              << "row " << i << (share ? ", shared" : "") << (tight ? ", tight" : "")
              << ", blocks of " << block_tokens;
        EXPECT_EQ(generator.statistics().paused_rows > 0, tight);
        EXPECT_EQ(generator.statistics().reused_tokens > 0, share);
      }
}

// Every placement of weights, and of keys and values, over random jobs: the same bits.
TEST_P(GeneratorInvariance, PlacementDoesNotShowInTheText) {
  GoldenModel model(golden_path("llama3"), GetParam());
  const auto vocab_size = static_cast<int32_t>(model.store().config().vocab_size);
  std::mt19937 random(21);
  for (int round = 0; round < 6; ++round) {
    const std::vector<GenerationRequest> requests = random_requests(random(), 20, vocab_size);
    std::vector<std::vector<uint32_t>> expected;
    {
      Generator generator(model.store(), model.device(), model.kernels(), nullptr,
                          tiny_options(PlacementKind::kHost));
      for (const GenerationResult& result : generate_all(generator, requests))
        expected.push_back(text_bits(result));
    }
    for (int variant = 0; variant < 4; ++variant) {
      RuntimeOptions options = tiny_options();
      options.placement.kind = PlacementKind::kShares;
      options.placement.host =
          Share{.kind = Share::Kind::kFraction, .fraction = 0.25 * (random() % 4)};
      options.placement.nvme = Share{};
      options.kv_placement.kind = PlacementKind::kNvme;
      options.kv_slot_bytes = kTileBytes;
      options.block_tokens = random() % 2 ? 16 : 4;
      options.max_sequences = 2 + static_cast<int32_t>(random() % 8);
      options.token_budget = options.max_sequences + static_cast<int32_t>(random() % 20);
      options.prefetch_depth = static_cast<int32_t>(random() % 4);
      options.workload = {.rows = 20,
                          .mean_prompt_tokens = 16,
                          .mean_new_tokens = 7,
                          .longest_prompt_tokens = 30,
                          .longest_row_tokens = 42};
      Generator generator(model.store(), model.device(), model.kernels(), nullptr, options);
      const std::vector<GenerationResult> results = generate_all(generator, requests);
      for (size_t i = 0; i < results.size(); ++i)
        EXPECT_EQ(text_bits(results[i]), expected[i])
            << "round " << round << " variant " << variant;
    }
  }
}

// Rows that outgrow the KV memory many times over, on storage.
TEST_P(GeneratorInvariance, KeysAndValuesComeBackFromStorage) {
  GoldenModel model(golden_path("llama3"), GetParam());
  const auto vocab_size = static_cast<int32_t>(model.store().config().vocab_size);
  std::vector<GenerationRequest> requests = random_requests(31, 12, vocab_size);
  for (GenerationRequest& request : requests) request.max_new_tokens = 40;
  const auto run = [&](PlacementKind kv, RunStatistics* statistics) {
    RuntimeOptions options = tiny_options(PlacementKind::kHost);
    options.kv_placement.kind = kv;
    options.kv_slot_bytes = kTileBytes;
    options.block_tokens = 2;
    options.max_sequences = 12;
    options.token_budget = 14;
    options.workload = {.rows = 12,
                        .mean_prompt_tokens = 16,
                        .mean_new_tokens = 40,
                        .longest_prompt_tokens = 30,
                        .longest_row_tokens = 70};
    Generator generator(model.store(), model.device(), model.kernels(), nullptr, options);
    std::vector<std::vector<uint32_t>> all;
    for (const GenerationResult& result : generate_all(generator, requests))
      all.push_back(text_bits(result));
    *statistics = generator.statistics();
    return all;
  };
  RunStatistics in_memory, on_storage;
  const auto expected = run(PlacementKind::kHost, &in_memory);
  EXPECT_EQ(run(PlacementKind::kNvme, &on_storage), expected);
  EXPECT_EQ(in_memory.kv_bytes_read + in_memory.kv_bytes_written, 0);
  EXPECT_GT(on_storage.kv_bytes_read, on_storage.kv_bytes_written);
  EXPECT_GT(on_storage.kv_bytes_written, 0);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, GeneratorInvariance,
                         testing::Values(DType::kF32, DType::kBF16, DType::kF16),
                         [](const auto& info) { return std::string(dtype_name(info.param)); });

// Every size of device pool gives the same bits, too.
TEST(Generator, ThreadsDoNotChangeTheResult) {
  std::vector<std::vector<uint32_t>> first;
  for (const int threads : {1, 2, 3}) {
    GoldenModel model(golden_path("qwen3"), DType::kBF16, {.threads = threads});
    Generator generator(model.store(), model.device(), model.kernels(), nullptr, tiny_options());
    std::vector<std::vector<uint32_t>> all;
    for (const GenerationResult& result : generate_all(generator, random_requests(5, 6, 90)))
      all.push_back(text_bits(result));
    if (first.empty()) first = all;
    EXPECT_EQ(all, first) << threads << " threads";
  }
}

TEST(Generator, ReadErrorsEndTheRunAndNameTheFile) {
  GoldenModel model(golden_path("llama2"), DType::kF32);
  RuntimeOptions options = tiny_options();
  options.max_retries = 0;
  options.make_engine = [] {
    FaultOptions faults;
    faults.broken_probability = 0.05;
    std::string skipped;
    return make_faulty_engine(make_io_engine(IoEngineKind::kThreads, 16, &skipped), faults);
  };
  Generator generator(model.store(), model.device(), model.kernels(), nullptr, options);
  try {
    generate_all(generator, random_requests(6, 8, 90));
    FAIL() << "no error";
  } catch (const IoError& error) {
    EXPECT_NE(std::string(error.what()).find("weights.bin"), std::string::npos) << error.what();
  }
}

TEST(Generator, CountsWhatItDid) {
  GoldenModel model(golden_path("llama2"), DType::kF32);
  Generator generator(model.store(), model.device(), model.kernels(), nullptr, tiny_options());
  std::vector<GenerationRequest> requests(2);
  for (GenerationRequest& request : requests) {
    request.prompt_tokens = {1, 2, 3};
    request.max_new_tokens = 5;
  }
  generate_all(generator, requests);
  const RunStatistics& statistics = generator.statistics();
  EXPECT_EQ(statistics.prompt_tokens, 6);
  EXPECT_EQ(statistics.generated_tokens, 10);
  EXPECT_EQ(statistics.prefill_passes, 1);
  EXPECT_EQ(statistics.decode_passes, 4);
  EXPECT_GE(statistics.bytes_read, 5 * statistics.streamed_bytes_per_pass);
  EXPECT_GT(statistics.flops, 0);
}

TEST(Generator, TooLittleMemoryIsRefusedWithNumbers) {
  GoldenModel model(golden_path("llama2"), DType::kF32);
  RuntimeOptions options = tiny_options();
  options.host_memory = 100'000;
  try {
    Generator generator(model.store(), model.device(), model.kernels(), nullptr, options);
    FAIL() << "no error";
  } catch (const InfeasibleError& error) {
    EXPECT_NE(std::string(error.what()).find("missing"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("kv cache"), std::string::npos) << error.what();
  }
}

TEST(Generator, StopFlagEndsTheRun) {
  GoldenModel model(golden_path("llama2"), DType::kF32);
  Generator generator(model.store(), model.device(), model.kernels(), nullptr, tiny_options());
  std::atomic<bool> stop = false;
  int passes = 0, results = 0;
  GenerationClient client;
  client.next = [](bool) {
    GenerationRequest request;
    request.prompt_tokens = {1};
    request.max_new_tokens = 8;
    return std::optional(request);
  };
  client.on_result = [&](GenerationResult) { ++results; };
  client.on_pass = [&](const RunStatistics&) { stop = ++passes == 3; };
  generator.run(client, stop);
  EXPECT_EQ(passes, 3);
  EXPECT_EQ(results, 0);
}

}  // namespace
}  // namespace zerostream
