#include "offload/run_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using testing::HasSubstr;

class RunConfigTest : public testing::Test {
 protected:
  RunConfig load(const std::string& text, const std::vector<std::string>& sets = {}) {
    write_file(path_, text);
    std::vector<ConfigOverride> overrides;
    for (const std::string& set : sets) overrides.push_back(parse_override(set));
    return load_run_config(path_, overrides);
  }
  std::string error(const std::string& text, const std::vector<std::string>& sets = {}) {
    try {
      load(text, sets);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "no error";
  }

  TempDir folder_;
  std::string path_ = folder_.file("run.yaml");
};

TEST_F(RunConfigTest, EmptyFileGivesDefaults) {
  for (const char* text : {"", "# nothing\n", "~", "model:\nsampling: ~\n"}) {
    const RunConfig config = load(text);
    EXPECT_EQ(config.weights.placement.kind, PlacementKind::kAuto) << text;
    EXPECT_EQ(config.nvme.direct, true);
    EXPECT_EQ(config.kv_cache.block_tokens, 16);
    EXPECT_TRUE(config.kv_cache.share_prefixes);
    EXPECT_EQ(config.job.resume, true);
    EXPECT_EQ(config.host.memory, std::nullopt);
    EXPECT_EQ(config.sampling.temperature, std::nullopt);
  }
}

TEST_F(RunConfigTest, EveryKeyTakesEffect) {
  const RunConfig config = load(R"(
model: {path: m, store: s}
device: {type: cpu, threads: 3, memory: 5GiB, int8_activations: true,
         batch_invariant: true}
host: {memory: 24GiB}
weights: {placement: nvme, dtype: int4, group_size: 128, asymmetric: true, quantise_head: true}
nvme: {engine: libaio, queue_depth: 7, block_size: 1MiB, direct: false, timeout: 7.5}
prefetch: {depth: 0}
kv_cache: {placement: host, dtype: int8, block_tokens: 32, share_prefixes: false}
batch: {max_sequences: 11, token_budget: 2048}
sampling: {max_new_tokens: 5, min_new_tokens: 2, temperature: 0.5, top_k: 4, top_p: 0.9,
           min_p: 0.1, repetition_penalty: 1.1, presence_penalty: -1, frequency_penalty: 2,
           seed: 18446744073709551615, stop: ["\n", '#'], stop_token_ids: [1, 2],
           ignore_eos: true, logprobs: 3}
parallel: {ranks: 1}
job: {input: i.jsonl, output: o.jsonl, report: r.json, resume: false, trace: ~, over_length: truncate}
)");
  EXPECT_EQ(config.model.path, folder_.file("m"));
  EXPECT_EQ(config.model.store, folder_.file("s"));
  EXPECT_EQ(config.device.threads, 3);
  EXPECT_TRUE(config.device.int8_activations);
  EXPECT_TRUE(config.device.batch_invariant);
  EXPECT_EQ(config.device.memory, int64_t{5} << 30);
  EXPECT_EQ(config.host.memory, int64_t{24} << 30);
  EXPECT_EQ(config.weights.placement.kind, PlacementKind::kNvme);
  EXPECT_EQ(config.weights.dtype, DType::kI4);
  EXPECT_EQ(config.weights.group_size, 128);
  EXPECT_TRUE(config.weights.asymmetric);
  EXPECT_TRUE(config.weights.quantise_head);
  EXPECT_EQ(config.nvme.engine, IoEngineKind::kLibaio);
  EXPECT_EQ(config.nvme.queue_depth, 7);
  EXPECT_EQ(config.nvme.block_size, 1 << 20);
  EXPECT_FALSE(config.nvme.direct);
  EXPECT_EQ(config.nvme.timeout, 7.5);
  EXPECT_EQ(config.prefetch.depth, 0);
  EXPECT_EQ(config.kv_cache.block_tokens, 32);
  EXPECT_EQ(config.kv_cache.dtype, DType::kI8);
  EXPECT_FALSE(config.kv_cache.share_prefixes);
  EXPECT_EQ(config.batch.max_sequences, 11);
  EXPECT_EQ(config.batch.token_budget, 2048);
  EXPECT_EQ(config.sampling.max_new_tokens, 5);
  EXPECT_EQ(config.sampling.min_new_tokens, 2);
  EXPECT_EQ(config.sampling.temperature, 0.5);
  EXPECT_EQ(config.sampling.top_k, 4);
  EXPECT_EQ(config.sampling.top_p, 0.9);
  EXPECT_EQ(config.sampling.min_p, 0.1);
  EXPECT_EQ(config.sampling.repetition_penalty, 1.1);
  EXPECT_EQ(config.sampling.presence_penalty, -1);
  EXPECT_EQ(config.sampling.frequency_penalty, 2);
  EXPECT_EQ(config.sampling.seed, 18446744073709551615u);
  EXPECT_EQ(config.sampling.stop, (std::vector<std::string>{"\n", "#"}));
  EXPECT_EQ(config.sampling.stop_token_ids, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(config.sampling.ignore_eos, true);
  EXPECT_EQ(config.sampling.logprobs, 3);
  EXPECT_EQ(config.job.input, folder_.file("i.jsonl"));
  EXPECT_EQ(config.job.output, folder_.file("o.jsonl"));
  EXPECT_EQ(config.job.report, folder_.file("r.json"));
  EXPECT_FALSE(config.job.resume);
  EXPECT_EQ(config.job.over_length, OverLength::kTruncate);
}

// The document that says so is the one that users read: its keys with its values.
TEST_F(RunConfigTest, JsonHoldsEveryKey) {
  const Json json = run_config_json(load("model: {path: /m}\njob: {input: /i, output: /o.jsonl}"));
  EXPECT_EQ(json["job"]["report"], "/o.report.json");
  EXPECT_EQ(json["weights"], (Json{{"placement", "auto"},
                                   {"dtype", "auto"},
                                   {"group_size", 64},
                                   {"asymmetric", false},
                                   {"quantise_head", false}}));
  EXPECT_EQ(json["device"], (Json{{"type", "cpu"},
                                  {"threads", 0},
                                  {"memory", "auto"},
                                  {"int8_activations", false},
                                  {"batch_invariant", false},
                                  {"module", nullptr}}));
  for (const char* section : {"host", "nvme", "prefetch", "kv_cache", "batch", "parallel"})
    EXPECT_FALSE(json[section].empty()) << section;
}

TEST_F(RunConfigTest, SaysWhereAndWhatIsNear) {
  EXPECT_EQ(error("nvme:\n  engine: auto\n  queue_dept: 4\n"),
            path_ +
                ":3: unknown key \"queue_dept\" in section nvme; did you mean "
                "\"queue_depth\"?");
  EXPECT_THAT(error("\nnvem: {direct: true}"),
              HasSubstr(":2: unknown section \"nvem\"; did you mean \"nvme\"?"));
  EXPECT_THAT(error("sampling: {temprature: 1}"), HasSubstr("did you mean \"temperature\"?"));
  EXPECT_THAT(error("sampling: {zzzzzzzzzzz: 1}"), testing::EndsWith("in section sampling"));
}

TEST_F(RunConfigTest, SaysKeyValueAndWhatIsExpected) {
  EXPECT_EQ(error("model:\n  path: m\ndevice:\n  threads: many\n"),
            path_ + ":4: device.threads: \"many\" is not an integer from 0 to 4096");
  const std::pair<const char*, const char*> cases[] = {
      {"device: {threads: -1}", "device.threads: -1 is not an integer from 0"},
      {"device: {threads: 1.0}", "1.0 is not an integer"},
      {"device: {threads: '4'}", "\"4\" is not an integer"},
      {"device: {threads: }", "null is not an integer"},
      {"device: {type: gpu}", "\"gpu\" is not one of auto, cpu, cuda"},
      {"host: {memory: 4 gigs}", "\"4 gigs\" is not auto or a size such as 24GiB"},
      {"host: {memory: 5}", "5 is not auto or a size with its unit, such as 5GiB or 5B"},
      {"host: {memory: '4096'}", "\"4096\" is not auto or a size with its unit"},
      {"nvme: {block_size: 8192}", "8192 is not auto or a size with its unit"},
      {"weights: {placement: {host: 4, nvme: rest}}", "is not a share such as 4GiB"},
      {"host: {memory: 0}", "0 is not auto or a size"},
      {"host: {memory: 1.5}", "1.5 is not auto or a size"},
      {"device: {int8_activations: 1}", "1 is not true or false"},
      {"weights: {group_size: 48}", "48 is not 32, 64 or 128"},
      {"weights: {group_size: 64.0}", "64.0 is not 32, 64 or 128"},
      {"weights: {group_size: '64'}", "\"64\" is not 32, 64 or 128"},
      {"weights: {asymmetric: 1}", "1 is not true or false"},
      {"weights: {quantise_head: 1}", "1 is not true or false"},
      {"weights: {dtype: fp8}", "\"fp8\" is not one of auto, fp32"},
      {"nvme: {engine: uring}", "\"uring\" is not one of auto, io_uring"},
      {"nvme: {block_size: 5000B}", "\"5000B\" is not auto or a multiple of 4 KiB"},
      {"nvme: {direct: yes}", "\"yes\" is not true or false"},
      {"prefetch: {depth: [1]}", "[1] is not auto or an integer"},
      {"sampling: {top_p: 0}", "0 is not a number above 0 to 1"},
      {"sampling: {temperature: .nan}", "\".nan\" is not a number"},
      {"sampling: {temperature: -0.5}", "-0.5 is not a number from 0"},
      {"sampling: {logprobs: 21}", "21 is not an integer from 0 to 20"},
      {"sampling: {stop: [a, '']}", "[\"a\",\"\"] is not a string or a list"},
      {"sampling: {seed: -1}", "-1 is not an integer from 0 to 2^64 - 1"},
      {"sampling: {max_new_tokens: 0}", "0 is not an integer from 1"},
      {"sampling: {max_new_tokens: 99999999999999999999}", "is not an integer from 1"},
      {"job: {over_length: drop}", "\"drop\" is not one of error, truncate"},
      {"job: {input: {a: 1}}", "{\"a\":1} is not a path"},
      {"job: 5", "section job is not a list of keys"},
      {"- a", "a run file is a list of sections"}};
  for (const auto& [text, message] : cases) EXPECT_THAT(error(text), HasSubstr(message)) << text;
}

TEST_F(RunConfigTest, ReadsShares) {
  const RunConfig config = load(
      "weights: {placement: {device: 10%, host: 4GiB, nvme: rest}}\n"
      "kv_cache: {placement: {host: 1GiB, nvme: rest}, directory: kv}");
  const Placement& weights = config.weights.placement;
  EXPECT_EQ(weights.memory_bytes(int64_t{100} << 30, "key"), int64_t{14} << 30);
  EXPECT_EQ(weights.memory_bytes(int64_t{4} << 30, "key"), int64_t{4} << 30);
  EXPECT_EQ(config.kv_cache.placement.memory_bytes(int64_t{8} << 30, "key"), int64_t{1} << 30);
  EXPECT_EQ(config.kv_cache.directory, folder_.file("kv"));
  EXPECT_EQ(run_config_json(config)["weights"]["placement"]["nvme"], "rest");
  for (const char* share :
       {"{host: 120%}", "{host: lots}", "{disk: rest}", "{host: -1}", "{host: 60%, nvme: 60%}"})
    EXPECT_THAT(error(std::string("weights: {placement: ") + share + "}"), HasSubstr("share"));
  const Placement short_of_all =
      load("weights: {placement: {host: 50%, nvme: 40%}}").weights.placement;
  EXPECT_THROW(short_of_all.memory_bytes(1000, "weights.placement"), UsageError);
}

TEST_F(RunConfigTest, RefusesWhatDoesNotExistYet) {
  for (const char* text : {"parallel: {ranks: 2}"}) {
    const RunConfig config = load(text);  // can be planned
    try {
      check_runnable(config);
      ADD_FAILURE() << text;
    } catch (const UsageError& error) {
      EXPECT_THAT(error.what(), HasSubstr("not supported yet")) << text;
    }
  }
  EXPECT_THROW(check_runnable(load("kv_cache: {directory: none}")), UsageError);
  check_runnable(load("kv_cache: {directory: .}"));
  check_runnable(load("device: {type: cpu}"));
  check_runnable(load("device: {type: cuda}"));
}

TEST_F(RunConfigTest, RefusesYamlThatHidesThings) {
  EXPECT_THAT(error("nvme:\n  direct: true\n  direct: false\n"),
              HasSubstr(":3: key \"direct\" is given twice"));
  EXPECT_THAT(error("nvme: {direct: true}\nnvme: {direct: true}\n"), HasSubstr(":2: key \"nvme\""));
  EXPECT_THAT(error("nvme: &a {direct: true}"), HasSubstr(":1: anchors are not supported"));
  EXPECT_THAT(error("nvme: {direct: &a true}\nprefetch: *a"), HasSubstr("not supported"));
  EXPECT_THAT(error("nvme: {direct: !!str true}"), HasSubstr("tags are not supported"));
  EXPECT_THAT(error("nvme: {direct: true}\n---\nnvme: {direct: false}"),
              HasSubstr("more than one YAML document"));
  EXPECT_THAT(error("nvme: {direct: true"), HasSubstr(path_ + ":"));
  EXPECT_THAT(error("? [a]\n: b\n"), HasSubstr("keys must be names"));
  EXPECT_THAT(error(std::string(100000, '[')), HasSubstr(path_ + ":"));
}

TEST_F(RunConfigTest, OverridesStandOverTheFile) {
  const RunConfig config = load("nvme: {queue_depth: 4, direct: true}\n",
                                {"nvme.queue_depth=8", "nvme.queue_depth=16",
                                 "sampling.stop=[\"a b\", c]", "job.report=~", "job.output=x"});
  EXPECT_EQ(config.nvme.queue_depth, 16);
  EXPECT_EQ(config.sampling.stop, (std::vector<std::string>{"a b", "c"}));
  EXPECT_EQ(config.job.report, "");
  EXPECT_EQ(config.job.output, "x");
  EXPECT_THAT(error("", {"nvme.queue_dept=8"}),
              HasSubstr("--set nvme.queue_dept: unknown key \"queue_dept\""));
  EXPECT_THAT(error("", {"nvme.queue_depth=x"}),
              HasSubstr("--set nvme.queue_depth: nvme.queue_depth: \"x\" is not auto or an"));
  EXPECT_THAT(error("", {"batch=4"}), HasSubstr("batch is a section"));
  EXPECT_THAT(error("", {"nonsense.a=4"}), testing::EndsWith("unknown section \"nonsense\""));
  EXPECT_THAT(error("", {"foo.bar=1"}), testing::EndsWith("unknown section \"foo\""));
  EXPECT_THROW(parse_override("nvme.direct"), UsageError);
  EXPECT_THROW(parse_override("=1"), UsageError);
}

TEST_F(RunConfigTest, LiteralOverridesAreNotYaml) {
  const RunConfig config = load_run_config(
      "", {{.key = "model.path", .value = "a: [b", .flag = "--model", .literal = true}});
  EXPECT_EQ(config.model.path, "a: [b");
}

TEST_F(RunConfigTest, MissingFileIsNamed) {
  EXPECT_THROW(load_run_config(folder_.file("none.yaml"), {}), UsageError);
  EXPECT_THROW(load_run_config(folder_.path().string(), {}), UsageError);
}

TEST_F(RunConfigTest, JobNeedsItsFiles) {
  const std::string job = "model: {path: m}\njob: {input: i, output: o.jsonl}\n";
  EXPECT_NO_THROW(check_job(load(job)));
  EXPECT_NO_THROW(check_job(load(job, {"job.input=-", "job.output=-"})));
  EXPECT_THROW(check_job(load("job: {input: i, output: o}\n")), UsageError);
  EXPECT_THROW(check_job(load("model: {path: m}\njob: {output: o}\n")), UsageError);
  EXPECT_THROW(check_job(load("model: {path: m}\njob: {input: i}\n")), UsageError);
  EXPECT_THROW(check_job(load(job, {"job.output=" + folder_.file("x/../i")})), UsageError);
  EXPECT_THROW(check_job(load(job, {"job.report=" + folder_.file("o.jsonl")})), UsageError);
  EXPECT_THROW(check_job(load(job, {"job.report=" + folder_.file("i")})), UsageError);
}

}  // namespace
}  // namespace zerostream
