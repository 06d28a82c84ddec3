#include "tests/offload/golden_case.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <filesystem>

#include "base/require.h"
#include "model/checkpoint.h"
#include "model/json.h"

namespace zerostream {
namespace {

std::vector<float> floats_from_base64(const std::string& text) {
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  uint32_t group = 0;
  int bits = 0;
  for (const char c : text) {
    if (c == '=') break;
    group = group << 6 | static_cast<uint32_t>(kAlphabet.find(c));
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes.push_back(static_cast<char>(group >> bits & 0xff));
  }
  std::vector<float> floats(bytes.size() / 4);
  std::memcpy(floats.data(), bytes.data(), floats.size() * 4);
  return floats;
}

}  // namespace

std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(ZS_TEST_DATA))
    if (std::filesystem::exists(entry.path() / "config.json"))
      names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

std::string golden_path(const std::string& name) { return std::string(ZS_TEST_DATA) + "/" + name; }

std::vector<GoldenPrompt> golden_prompts(const std::string& name) {
  std::vector<GoldenPrompt> prompts;
  const Json expected = read_json_file(golden_path(name) + "/expected.json");
  for (const Json& value : expected.at("cases"))
    prompts.push_back({value.at("token_ids"), value.at("generated"), value.at("positions"),
                       floats_from_base64(value.at("logits"))});
  return prompts;
}

GoldenModel::GoldenModel(const std::string& path, std::optional<DType> dtype,
                         CpuDeviceOptions device)
    : GoldenModel(path, PackOptions{.dtype = dtype}, device) {}

GoldenModel::GoldenModel(const std::string& path, const PackOptions& options,
                         CpuDeviceOptions device) {
  pack_store(Checkpoint::open(path), folder(), options);
  store_ = PackedStore::open(folder());
  device_ = std::make_unique<CpuDevice>(device);
  kernels_ = std::make_unique<CpuKernels>(*device_, store_->config().vocab_size);
}

RuntimeOptions tiny_options(PlacementKind placement) {
  RuntimeOptions options;
  options.placement.kind = placement;
  options.host_memory = int64_t{256} << 20;
  options.max_sequences = 16;
  options.token_budget = 64;
  return options;
}

std::vector<GenerationResult> generate_all(Generator& generator,
                                           std::vector<GenerationRequest> requests) {
  std::vector<GenerationResult> results(requests.size());
  size_t next = 0;
  GenerationClient client;
  client.next = [&](bool) -> std::optional<GenerationRequest> {
    if (next == requests.size()) return std::nullopt;
    requests[next].handle = next;
    return requests[next++];
  };
  client.on_result = [&](GenerationResult result) { results[result.handle] = std::move(result); };
  generator.run(client, std::atomic<bool>(false));
  return results;
}

std::vector<float> compute_logits(ModelRuntime& runtime, const std::vector<int32_t>& tokens,
                                  const std::vector<int32_t>& positions, int32_t chunk) {
  KvBlocks& kv = runtime.kv_blocks();
  std::vector<int32_t> blocks(kv.blocks_for(static_cast<int64_t>(tokens.size())));
  for (int32_t& block : blocks) block = kv.take();
  std::vector<float> logits;
  for (int32_t begin = 0; begin < static_cast<int32_t>(tokens.size()); begin += chunk) {
    const int32_t count = std::min<int32_t>(chunk, static_cast<int32_t>(tokens.size()) - begin);
    PassBatch batch;
    batch.sequences.push_back({0, count, begin, blocks.data()});
    for (int32_t i = begin; i < begin + count; ++i) {
      batch.tokens.push_back(tokens[i]);
      batch.positions.push_back(i);
      if (std::find(positions.begin(), positions.end(), i) != positions.end())
        batch.logit_rows.push_back(i - begin);
    }
    const std::vector<SampleRow> rows(batch.logit_rows.size());
    std::vector<SampleResult> results(rows.size());
    runtime.scheduler().run(batch, rows.data(), results.data());
    for (size_t i = 0; i < rows.size(); ++i) {
      const TensorView view = runtime.scheduler().logits();
      logits.insert(logits.end(), view.row_as<float>(i), view.row_as<float>(i) + view.cols);
    }
  }
  kv.release(blocks);
  return logits;
}

}  // namespace zerostream
