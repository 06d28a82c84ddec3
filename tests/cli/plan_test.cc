// `plan` and `simulate` as users and scripts see them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "model/json.h"
#include "tests/cli/subprocess.h"
#include "tests/support/temp_dir.h"

namespace zerostream {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string config_path(const std::string& name) {
  const auto root = std::filesystem::path(ZS_TEST_DATA).parent_path().parent_path();
  return (root / "configs" / name).string();
}

const std::string kModel = ZS_TEST_DATA "/llama2";

// A CPU that reads 1 GB/s.
constexpr const char* kProfile = R"(name: slow
source: made up
device: cpu
storage: {read: 1e9, latency_seconds: 1e-4}
host: {bytes: 8GiB, read: 20e9}
compute:
  attention: 10e9
  launch_seconds: 1e-6
  gemm:
    - weights: bf16
      points: [{rows: 1, flops: 10e9}, {rows: 64, flops: 500e9}]
)";

class PlanTest : public testing::Test {
 protected:
  PlanTest() { write_file(folder_.file("slow.yaml"), kProfile); }
  CommandResult command(std::vector<std::string> arguments,
                        const std::vector<std::string>& more = {}) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_command(arguments, folder_.path().string());
  }
  Json json(std::vector<std::string> arguments, const std::vector<std::string>& more = {}) {
    arguments.push_back("--json");
    const CommandResult result = command(std::move(arguments), more);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return Json::parse(result.out);
  }
  // `plan` of Mistral-7B's shape for 64 rows on the slow CPU.
  static std::vector<std::string> plan_mistral() {
    return {"plan",
            "--set",
            "model.path=" + config_path("bench/mistral-7b-shape"),
            "--set",
            "host.memory=6GiB",
            "--hardware",
            "slow.yaml",
            "--rows",
            "64",
            "--prompt-tokens",
            "32",
            "--new-tokens",
            "32"};
  }

  TempDir folder_;
};

TEST_F(PlanTest, SaysWhereBytesGoAndHowFastItWillBe) {
  const Json plan = json(plan_mistral());
  EXPECT_LE(plan["memory"]["host"]["bytes"], int64_t{6} << 30);
  EXPECT_EQ(plan["weights"]["bytes"],
            plan["weights"]["host"].get<int64_t>() + plan["weights"]["nvme"].get<int64_t>());
  EXPECT_GT(plan["weights"]["streamed_bytes_per_pass"], int64_t{8} << 30);
  EXPECT_EQ(plan["batch"]["max_sequences"], 64);
  EXPECT_EQ(plan["predicted"]["bound"], "fetch");
  EXPECT_EQ(plan["predicted"]["pass_bound"]["prefill"], "compute");
  EXPECT_EQ(plan["predicted"]["pass_bound"]["decode"], "fetch");
  const double seconds = plan["predicted"]["seconds"];
  EXPECT_GE(seconds, plan["predicted"]["bound_seconds"].get<double>());
  EXPECT_NEAR(plan["predicted"]["tokens_per_second"]["generated"].get<double>(), 64 * 32 / seconds,
              0.01);
  EXPECT_EQ(plan["what_if"].size(), 5u);

  const CommandResult text = command(plan_mistral());
  EXPECT_THAT(text.out, AllOf(HasSubstr("machine    slow"), HasSubstr("64 rows of 32 + 32 tokens"),
                              HasSubstr("kv cache"),
                              HasSubstr("bound      fetch: prefill compute, decode fetch"),
                              HasSubstr("what if    storage twice as fast")));
}

TEST_F(PlanTest, TakesTheRowsOfTheJob) {
  std::string rows;
  for (int i = 0; i < 5; ++i)
    rows += R"({"prompt_token_ids": [1, 2, 3], "max_tokens": 7})"
            "\n";
  write_file(folder_.file("in.jsonl"), rows);
  const Json plan = json({"plan", "--hardware", "slow.yaml"},
                         {"--set", "model.path=" + kModel, "--set", "job.input=in.jsonl"});
  EXPECT_EQ(plan["workload"]["rows"], 5);
  EXPECT_EQ(plan["workload"]["mean_prompt_tokens"], 3.0);
  EXPECT_EQ(plan["workload"]["longest_row_tokens"], 10);
  EXPECT_EQ(plan["batch"]["max_sequences"], 5);
}

TEST_F(PlanTest, MeasuresThisMachineWhereNoProfileIsGiven) {
  const CommandResult result =
      command({"plan", "--set", "model.path=" + kModel, "--rows", "4", "--prompt-tokens", "8",
               "--new-tokens", "4", "--set", "host.memory=256MiB"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("measuring this machine"));
  EXPECT_THAT(result.out, HasSubstr("predicted"));
}

TEST_F(PlanTest, WhatIfsOfOtherWeightsAreWhatTheirPlansSay) {
  const std::vector<std::string> arguments = {"plan",
                                              "--set",
                                              "model.path=" + config_path("bench/mistral-7b-shape"),
                                              "--set",
                                              "host.memory=64GiB",
                                              "--set",
                                              "device.memory=64GiB",
                                              "--rows",
                                              "16",
                                              "--prompt-tokens",
                                              "8",
                                              "--new-tokens",
                                              "8"};
  const Json plan = json(arguments);
  int compared = 0;
  for (const Json& what_if : plan["what_if"])
    for (const std::string dtype : {"int8", "int4"})
      if (what_if["change"] == dtype + " weights") {
        const Json other = json(arguments, {"--set", "weights.dtype=" + dtype});
        const double rate = other["predicted"]["tokens_per_second"]["generated"];
        EXPECT_NEAR(what_if["tokens_per_second"].get<double>(), rate, 0.01 * rate) << dtype;
        ++compared;
      }
  EXPECT_EQ(compared, 2);
}

// What is planned for rows that fit memory is what a run takes, which does not measure for that.
TEST_F(PlanTest, ARunThatFitsMemoryTakesThePlannedSizes) {
  write_file(folder_.file("in.jsonl"), R"({"prompt_token_ids": [1, 2, 3], "max_tokens": 7}
{"prompt_token_ids": [4, 5], "max_tokens": 20}
)");
  const std::vector<std::string> settings = {
      "--set", "model.path=" + kModel, "--set", "job.input=in.jsonl", "--set", "host.memory=2GiB"};
  const Json plan = json({"plan", "--hardware", "slow.yaml"}, settings);
  const CommandResult run = command({"run", "--output", "out.jsonl"}, settings);
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.err, testing::Not(HasSubstr("measuring this machine")));
  const Json report = Json::parse(read_file(folder_.file("out.report.json")));
  EXPECT_EQ(plan["batch"]["max_sequences"], 2);
  EXPECT_EQ(plan["batch"]["token_budget"], 6);
  for (const char* size : {"max_sequences", "token_budget"})
    EXPECT_EQ(report["config"]["batch"][size], plan["batch"][size]) << size;
  EXPECT_EQ(report["memory"]["pools"]["kv cache"], plan["memory"]["host"]["pools"]["kv cache"]);
}

TEST_F(PlanTest, SimulatesOtherMachines) {
  const auto simulate = [](const char* rows) {
    return std::vector<std::string>{"simulate",        config_path("simulate/opt-30b-dgx2.yaml"),
                                    "--hardware",      config_path("hardware/v100-32gb-dgx2.yaml"),
                                    "--rows",          rows,
                                    "--prompt-tokens", "4",
                                    "--new-tokens",    "10"};
  };
  const Json one = json(simulate("256"));
  EXPECT_NEAR(one["predicted"]["tokens_per_second"]["decode"].get<double>(), 43, 1);
  EXPECT_EQ(one["predicted"]["bound"], "copy");
  EXPECT_EQ(one["weights"]["nvme"], 0);
  const Json four = json(simulate("1024"), {"--set", "parallel.ranks=4"});
  EXPECT_NEAR(four["predicted"]["tokens_per_second"]["decode"].get<double>(), 4 * 120, 10);
  EXPECT_THAT(command(simulate("256")).out, AllOf(HasSubstr("decode     256 rows"),
                                                  HasSubstr("upload"), HasSubstr("compute waits")));
  const CommandResult llama =
      command({"plan", config_path("simulate/llama-2-70b-int4-a6000.yaml"), "--hardware",
               config_path("hardware/a6000-workstation.yaml"), "--rows", "1000", "--prompt-tokens",
               "512", "--new-tokens", "32"});
  EXPECT_EQ(llama.exit_code, 0) << llama.err;
}

TEST_F(PlanTest, RowsAreThoseThatTheModelsContextLeaves) {
  const auto rows = [](const char* prompt) {
    return std::vector<std::string>{
        "plan",   "--hardware", "slow.yaml",       "--set", "model.path=" ZS_TEST_DATA "/llama3",
        "--rows", "2",          "--prompt-tokens", prompt,  "--new-tokens",
        "5"};
  };
  const Json last = json(rows("79"));
  EXPECT_EQ(last["workload"]["longest_row_tokens"], 80);
  EXPECT_EQ(last["workload"]["mean_new_tokens"], 1.0);
  const CommandResult refused = command(rows("80"));
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("the model's context of 80"));
  EXPECT_EQ(json(rows("80"), {"--set", "job.over_length=truncate"})["workload"]["mean_new_tokens"],
            5.0);
}

TEST_F(PlanTest, InfeasibleRunsExitWithThree) {
  const CommandResult result = command(plan_mistral(), {"--set", "weights.placement=host"});
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, AllOf(HasSubstr("missing"), HasSubstr("weights.placement: nvme")));
}

TEST_F(PlanTest, UsageErrors) {
  const auto refused = [&](const std::vector<std::string>& arguments, const std::string& part) {
    const CommandResult result = command(arguments);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_THAT(result.err, HasSubstr(part));
  };
  const std::string model = "model.path=" + kModel;
  refused({"simulate", "--set", model}, "--hardware");
  refused({"plan", "--hardware", "slow.yaml"}, "model.path is missing");
  refused({"plan", "--set", model, "--hardware", "slow.yaml", "--rows", "5"}, "--prompt-tokens");
  refused({"plan", "--set", model, "--hardware", "slow.yaml", "--set", "device.type=cuda"},
          "is of a CPU");
  refused({"plan", "--set", model, "--set", "parallel.ranks=2"}, "--hardware");
  refused({"run", "--model", kModel, "--input", "slow.yaml", "--output", "o.jsonl", "--set",
           "parallel.ranks=2"},
          "not supported yet");
}

}  // namespace
}  // namespace zerostream
