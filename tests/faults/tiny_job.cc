#include "tests/faults/tiny_job.h"

#include <algorithm>
#include <filesystem>
#include <stdexcept>

#include "model/checkpoint.h"
#include "offload/memory_plan.h"
#include "offload/pack.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int kRows = 14;

std::vector<std::string> sorted_lines(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size() - 1);
    lines.push_back(text.substr(begin, end + 1 - begin));
    begin = end + 1;
  }
  std::sort(lines.begin(), lines.end());
  return lines;
}

}  // namespace

std::string JobShape::text() const {
  static const char* const kEngines[] = {"auto", "io_uring", "libaio", "threads"};
  return std::string(stream_weights ? "weights on nvme" : "weights on host") +
         (stream_kv ? ", KV on nvme, " : ", KV on host, ") + kEngines[static_cast<int>(engine)] +
         (direct ? " direct" : " buffered") + ", depth " + std::to_string(prefetch_depth) + ", " +
         std::to_string(max_sequences) + " sequences, blocks of " + std::to_string(block_size) +
         " bytes and " + std::to_string(block_tokens) + " tokens";
}

TinyJob::TinyJob() {
  pack_store(Checkpoint::open(ZS_TEST_DATA "/llama2"), folder_.file("store"), {});
  store_ = std::make_unique<PackedStore>(PackedStore::open(folder_.file("store")));
  write_input();
  const JobEnd end = run({.stream_weights = false, .stream_kv = false}, {});
  if (end.code != 0) throw std::runtime_error("the undisturbed run failed: " + end.message);
  expected_ = sorted_lines(output());
  remove_output();
}

// Rows with and without an id, greedy and drawn, some that begin alike.
void TinyJob::write_input() const {
  std::string text;
  for (int i = 0; i < kRows; ++i) {
    Json row = {{"max_tokens", 6 + 5 * i % 14}, {"ignore_eos", true}};
    Json& prompt = row["prompt_token_ids"] = {1, 5, 9};
    for (int k = 0; k < 2 + 3 * i % 11; ++k) prompt.push_back((7 * i * (k / 4 + 1) + k) % 97);
    if (i % 3 == 0) row["id"] = "row " + std::to_string(i);
    if (i % 2 == 0) row["temperature"] = 0.9;
    if (i % 5 == 0) row["logprobs"] = 2;
    text += row.dump() + "\n";
  }
  write_file(folder_.file("in.jsonl"), text);
}

RunConfig TinyJob::config(const JobShape& shape) const {
  RunConfig config;
  config.model.path = store_->path();
  config.device.type = DeviceKind::kCpu;
  config.device.threads = 1;
  config.host.memory = int64_t{256} << 20;
  config.weights.placement.kind =
      shape.stream_weights ? PlacementKind::kNvme : PlacementKind::kHost;
  config.kv_cache.placement.kind = shape.stream_kv ? PlacementKind::kNvme : PlacementKind::kHost;
  config.kv_cache.block_tokens = shape.block_tokens;
  config.nvme.engine = shape.engine;
  config.nvme.direct = shape.direct;
  config.nvme.queue_depth = 8;
  config.nvme.block_size = shape.block_size;
  config.prefetch.depth = shape.prefetch_depth;
  config.batch.max_sequences = shape.max_sequences;
  config.batch.token_budget = shape.max_sequences + 9;
  config.job.input = folder_.file("in.jsonl");
  config.job.output = folder_.file("out.jsonl");
  config.job.report = folder_.file("report.json");
  return config;
}

JobEnd TinyJob::run(const JobShape& shape, const std::function<void(RuntimeOptions&)>& adjust) {
  JobEvents events;
  events.adjust = [&](RuntimeOptions& options) {
    options.kv_slot_bytes = kTileBytes;
    options.plan = plan_memory(store_->layout(), memory_request(options, 0));
    if (adjust) adjust(options);
  };
  const std::atomic<bool> stop = false;
  try {
    const JobResult result =
        run_batch_job(config(shape), Purpose::kGenerate, folder_.file("cache"), events, stop);
    return {result.rows_failed > 0 ? 7 : 0, ""};
  } catch (const Error& error) {
    return {static_cast<int>(error.code()), error.what()};
  } catch (const std::exception& error) {
    return {-1, error.what()};
  }
}

void TinyJob::remove_output() {
  for (const char* name : {"out.jsonl", "out.jsonl.state", "out.jsonl.old", "out.jsonl.new"})
    std::filesystem::remove(folder_.file(name));
}

std::string TinyJob::output() const {
  const std::string path = folder_.file("out.jsonl");
  return std::filesystem::exists(path) ? read_file(path) : "";
}

std::string TinyJob::problem_of_part() const {
  const std::string text = output();
  const std::string whole = text.substr(0, text.rfind('\n') + 1);  // without a torn last line
  const std::vector<std::string> lines = sorted_lines(whole);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (!std::binary_search(expected_.begin(), expected_.end(), lines[i]))
      return "a wrong line: " + lines[i];
    if (i > 0 && lines[i] == lines[i - 1]) return "a line twice: " + lines[i];
  }
  return "";
}

std::string TinyJob::problem_of_whole() const {
  const std::vector<std::string> lines = sorted_lines(output());
  if (lines == expected_) return "";
  const std::string part = problem_of_part();
  return part.empty() ? std::to_string(lines.size()) + " lines instead of " +
                            std::to_string(expected_.size())
                      : part;
}

}  // namespace zerostream
