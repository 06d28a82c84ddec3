// Runs on a GPU, here an emulated one, from the command line.
#include "tests/cli/cli_fixture.h"

namespace zerostream {
namespace {

using testing::HasSubstr;

const std::string kModule = "device.module=" ZS_CUDA_MODULE;

class CudaRunTest : public CliTest {
 protected:
  static std::vector<std::string> cuda_settings(const std::vector<std::string>& more = {}) {
    std::vector<std::string> settings = {
        "--set", "device.type=cuda",     "--set", kModule,
        "--set", "device.memory=64MiB",  "--set", "batch.max_sequences=8",
        "--set", "batch.token_budget=32"};
    settings.insert(settings.end(), more.begin(), more.end());
    return settings;
  }
  std::vector<std::string> on_cuda(const std::vector<std::string>& more = {}) {
    return run_arguments(cuda_settings(more));
  }
};

TEST_F(CudaRunTest, SameRowsAsOnTheProcessorFromEveryTier) {
  write_rows(5, 6);
  ASSERT_EQ(command(run_arguments({"--set", "device.type=cpu"})).exit_code, 0);
  const std::string expected = read("out.jsonl");
  for (const std::string placement :
       {"auto", "nvme", "host", "{device: 30%, host: 30%, nvme: rest}"}) {
    std::filesystem::remove(folder_.file("out.jsonl"));
    std::filesystem::remove(folder_.file("out.jsonl.state"));
    const CommandResult result = command(on_cuda({"--set", "weights.placement=" + placement}));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(read("out.jsonl"), expected) << placement;
    const Json report = Json::parse(read("out.report.json"));
    EXPECT_EQ(report["config"]["device"]["type"], "cuda");
    EXPECT_THAT(report["model"]["device"].get<std::string>(), HasSubstr("Emulated GPU"));
    const Json& tiers = report["weights"]["tiers"];
    EXPECT_EQ(tiers["device"].get<int64_t>() + tiers["host"].get<int64_t>() +
                  tiers["nvme"].get<int64_t>(),
              report["weights"]["bytes"].get<int64_t>());
    EXPECT_EQ(tiers["nvme"] == report["weights"]["bytes"], placement == "nvme");
    EXPECT_GT(report["memory"]["pools"]["pass arrays"], 0);
  }
}

// And `plan` says what memory the run then takes.
TEST_F(CudaRunTest, SameRowsWithKeysAndValuesElsewhere) {
  write_rows(6, 40);
  ASSERT_EQ(command(run_arguments({"--set", "device.type=cpu"})).exit_code, 0);
  const std::string expected = read("out.jsonl");
  const auto settings = [&](const std::string& placement, const std::string& host_memory) {
    return cuda_settings({"--set", "kv_cache.placement=" + placement, "--set",
                          "kv_cache.block_tokens=1", "--set", "batch.max_sequences=4", "--set",
                          "batch.token_budget=4", "--set", "job.resume=false", "--set",
                          "host.memory=" + host_memory});
  };
  for (const std::string placement : {"host", "nvme", "{device: 20%, host: rest}"}) {
    const std::vector<std::string> given = settings(placement, "256MiB");
    const CommandResult result = command(run_arguments(given));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(read("out.jsonl"), expected) << placement;
    const Json report = Json::parse(read("out.report.json"));
    EXPECT_EQ(report["config"]["kv_cache"]["placement"], placement == "nvme" ? "nvme" : "host");
    const Json& pools = report["memory"]["pools"];
    EXPECT_GT(pools["kv slots"], 0);
    EXPECT_GT(pools["kv tables"], 0);
    const Json& host_pools = report["memory"]["host_pools"];
    EXPECT_GT(host_pools["kv staging"], 0);
    EXPECT_EQ(host_pools.value("kv cache", 0) > pools["kv cache"], placement != "nvme");

    std::vector<std::string> plan = {
        "plan", "--json", "--set", "model.path=" + kModel, "--set", "job.input=in.jsonl"};
    plan.insert(plan.end(), given.begin(), given.end());
    const CommandResult planned = command(plan);
    ASSERT_EQ(planned.exit_code, 0) << planned.err;
    const Json memory = Json::parse(planned.out)["memory"];
    for (const auto& [name, bytes] : memory["device"]["pools"].items())
      EXPECT_EQ(bytes, pools[name]) << placement << ": " << name;
    for (const auto& [name, bytes] : memory["host"]["pools"].items())
      EXPECT_EQ(bytes, host_pools[name]) << placement << ": " << name;
  }
  const CommandResult result = command(run_arguments(settings("host", "64KiB")));
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.err,
              testing::AllOf(HasSubstr("of keys and values"), HasSubstr("Raise host.memory")));
}

// What was written before stays, and the same command goes on from there.
TEST_F(CudaRunTest, AFailureOfTheDeviceInMidRunLosesNothing) {
  write_rows(14, 6);
  ASSERT_EQ(command(run_arguments({"--set", "device.type=cpu"})).exit_code, 0);
  const std::string expected = read("out.jsonl");
  const std::vector<std::string> arguments =
      on_cuda({"--set", "batch.max_sequences=2", "--set", "weights.placement=nvme", "--set",
               "weights.dtype=fp32"});
  for (const char* failure : {"kernel 500", "cudaMemcpyAsync 180"}) {
    std::filesystem::remove(folder_.file("out.jsonl"));
    std::filesystem::remove(folder_.file("out.jsonl.state"));
    const CommandResult failed = run_command(arguments, folder_.path().string(), "",
                                             [&] { setenv("EMULATED_CUDA_FAILS", failure, 1); });
    EXPECT_EQ(failed.exit_code, 6) << failure << ": " << failed.err;
    EXPECT_THAT(failed.err, HasSubstr("cudaErrorIllegalAddress")) << failure;
    const std::string kept = read("out.jsonl");
    EXPECT_FALSE(kept.empty()) << failure;
    EXPECT_LT(kept.size(), expected.size()) << failure;
    EXPECT_EQ(expected.compare(0, kept.size(), kept), 0) << failure;
    const CommandResult resumed = command(arguments);
    EXPECT_EQ(resumed.exit_code, 0) << failure << ": " << resumed.err;
    EXPECT_EQ(read("out.jsonl"), expected) << failure;
  }
}

TEST_F(CudaRunTest, RowsOfACpuAreNotMixedWithThoseOfAGpu) {
  write_rows(2);
  ASSERT_EQ(command(run_arguments({"--set", "device.type=cpu"})).exit_code, 0);
  expect_error(on_cuda(), 2, "device.type was not set and is \"cuda\"");
  std::filesystem::remove(folder_.file("out.jsonl"));
  std::filesystem::remove(folder_.file("out.jsonl.state"));
  ASSERT_EQ(command(on_cuda()).exit_code, 0);
  EXPECT_EQ(command(on_cuda()).exit_code, 0);
  expect_error(run_arguments({"--set", "device.type=cpu"}), 2, "device.type was \"cuda\"");
}

TEST_F(CudaRunTest, DeviceAndHostMemoryAreBounds) {
  write_rows(1);
  CommandResult result = command(run_arguments(
      {"--set", "device.type=cuda", "--set", kModule, "--set", "device.memory=100KiB"}));
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.err, HasSubstr("Raise device.memory"));
  result = command(on_cuda({"--set", "weights.placement=host", "--set", "host.memory=64KiB"}));
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.err, HasSubstr("Raise host.memory"));
}

TEST_F(CudaRunTest, WhatItCannotDoIsRefused) {
  write_rows(1);
  expect_error(on_cuda({"--set", "kv_cache.placement={device: 1MiB, host: 1MiB, nvme: rest}"}), 2,
               "kv_cache.placement: what a cuda device does not hold of keys and values rests in "
               "host memory");
  expect_error(on_cuda({"--set", "weights.dtype=int8", "--set", "device.int8_activations=true"}), 2,
               "device.int8_activations: cuda devices");
}

TEST_F(CudaRunTest, WithoutAModuleOrAGpu) {
  write_rows(1);
  write("broken.so", "not a library");
  const std::vector<std::string> cuda = {"--set", "device.type=cuda", "--set"};
  const auto with = [&](const std::string& module) {
    std::vector<std::string> arguments = cuda;
    arguments.push_back("device.module=" + module);
    return run_arguments(arguments);
  };
  expect_error(with("none.so"), 6, "none.so: no such file");
  expect_error(with("broken.so"), 6, "broken.so: ");
  const std::string other = ZS_OTHER_LIBRARY;
  expect_error(with(other), 6, "zerostream_device_module");
}

TEST_F(CudaRunTest, SelftestPassesOnEveryDevice) {
  for (const std::string device : {"cpu", "cuda"}) {
    const CommandResult result = command(
        {"selftest", "--device", device, "--module", ZS_CUDA_MODULE, "--directory", ".", "--json"});
    ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
    const Json report = Json::parse(result.out);
    EXPECT_EQ(report["passed"], true);
    EXPECT_GE(report["kernels"].size(), 18u);
    double best = 0;
    for (const Json& kernel : report["kernels"]) {
      EXPECT_GT(kernel["seconds"].get<double>(), 0);
      EXPECT_GT(kernel["share_of_memory"].get<double>(), 0);
      best = std::max(best, kernel["share_of_arithmetic"].get<double>());
    }
    EXPECT_EQ(best, 1);
    for (const auto& [link, rate] : report["bytes_per_second"].items())
      EXPECT_GT(rate.get<double>(), 0) << link;
  }
  const CommandResult none = command({"selftest", "--device", "cuda", "--module", "none.so"});
  EXPECT_EQ(none.exit_code, 6);
  EXPECT_THAT(none.err, HasSubstr("none.so: no such file"));
}

TEST_F(CudaRunTest, ProbeMeasuresTheDevice) {
  const CommandResult probe = command({"probe", "--device", "cuda", "--module", ZS_CUDA_MODULE,
                                       "--directory", ".", "--quick", "-o", "gpu.yaml"});
  ASSERT_EQ(probe.exit_code, 0) << probe.err;
  EXPECT_THAT(probe.err, testing::AllOf(HasSubstr("to the device, pageable"),
                                        HasSubstr("both ways at once"), HasSubstr("in rows")));
  EXPECT_THAT(read("gpu.yaml"), testing::AllOf(HasSubstr("device: cuda"), HasSubstr("to_device: "),
                                               HasSubstr("layout: rows")));
  const CommandResult plan =
      command({"plan", "--set", "model.path=" + kModel, "--set", "device.type=cuda", "--hardware",
               "gpu.yaml", "--rows", "5", "--prompt-tokens", "4", "--json"});
  ASSERT_EQ(plan.exit_code, 0) << plan.err;
  EXPECT_THAT(Json::parse(plan.out)["hardware"]["name"].get<std::string>(),
              HasSubstr("Emulated GPU"));
  EXPECT_EQ(command({"probe", "--device", "cuda", "--module", "none.so", "--quick"}).exit_code, 6);
}

TEST_F(CudaRunTest, PlanMeasuresTheDeviceOfTheRunFile) {
  const CommandResult result = command({"plan",
                                        "--set",
                                        "model.path=" + kModel,
                                        "--set",
                                        "device.type=cuda",
                                        "--set",
                                        kModule,
                                        "--set",
                                        "device.memory=64MiB",
                                        "--set",
                                        "host.memory=64MiB",
                                        "--set",
                                        "weights.placement={device: 30%, host: 30%, nvme: rest}",
                                        "--rows",
                                        "5",
                                        "--prompt-tokens",
                                        "4",
                                        "--new-tokens",
                                        "4",
                                        "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json plan = Json::parse(result.out);
  EXPECT_THAT(plan["hardware"]["name"].get<std::string>(), HasSubstr("Emulated GPU"));
  for (const char* memory : {"device", "host"}) {
    EXPECT_EQ(plan["memory"][memory]["limit"], 64 << 20);
    EXPECT_LE(plan["memory"][memory]["bytes"], 64 << 20);
    EXPECT_GT(plan["weights"][memory], 0);
  }
  EXPECT_GT(plan["memory"]["device"]["pools"]["scratch"], 0);
  EXPECT_GT(plan["predicted"]["decode_pass"]["busy_seconds"]["upload"], 0);
  EXPECT_EQ(plan["batch"]["max_sequences"], 5);
}

TEST_F(CudaRunTest, AutomaticSizesComeFromTheDevicesRates) {
  write_rows(6);
  const CommandResult result =
      command(run_arguments({"--set", "device.type=cuda", "--set", kModule, "--set",
                             "device.memory=64MiB", "--set", "weights.placement=nvme"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json report = Json::parse(read("out.report.json"));
  EXPECT_EQ(report["config"]["batch"]["max_sequences"], 6);
  EXPECT_LE(report["config"]["batch"]["token_budget"], 12) << "all prompts at once";
  EXPECT_GT(report["predicted"]["total_seconds"].get<double>(), 0);
  EXPECT_GT(report["io"]["ceiling_gigabytes_per_second"].get<double>(), 0);
  EXPECT_GT(report["predicted"]["decode_tokens_per_second"].get<double>(), 0);
}

TEST_F(CudaRunTest, DoctorSaysWhatIsThere) {
  const CommandResult found = command({"doctor", "--module", ZS_CUDA_MODULE});
  EXPECT_EQ(found.exit_code, 0);
  EXPECT_THAT(found.out, HasSubstr("good     GPU: Emulated GPU, GPU 0"));
  const CommandResult missing = command({"doctor", "--module", "none.so"});
  EXPECT_EQ(missing.exit_code, 0);
  EXPECT_THAT(missing.out, HasSubstr("missing  GPU: no module for the device could be loaded: /"));
}

}  // namespace
}  // namespace zerostream
