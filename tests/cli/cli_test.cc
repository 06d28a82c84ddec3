// The command as users and scripts see it: output, messages and exit codes.
#include <unistd.h>

#include <cmath>
#include <csignal>

#include "offload/hardware_profile.h"
#include "tests/cli/cli_fixture.h"

namespace zerostream {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

TEST_F(CliTest, HelpAndVersion) {
  EXPECT_THAT(command({"--version"}).out, StartsWith("zerostream "));
  EXPECT_THAT(command({"help"}).out, AllOf(HasSubstr("run"), HasSubstr("tokenize")));
  EXPECT_THAT(command({"help", "pack"}).out, HasSubstr("--dummy-weights"));
  EXPECT_EQ(command({"run", "--help"}).exit_code, 0);
  EXPECT_THAT(command({"help", "run"}).out, AllOf(HasSubstr("LEVEL:{error,warn,info,debug}"),
                                                  HasSubstr("--set SECTION.KEY=VALUE  ")));
}

TEST_F(CliTest, UsageErrors) {
  expect_error({}, 2, "subcommand is required");
  expect_error({"rnu"}, 2, "there is no command \"rnu\"; did you mean \"run\"?");
  expect_error({"help", "rnu"}, 2, "there is no command \"rnu\"");
  expect_error({"run", "--sett", "a.b=1"}, 2, "--sett");
  expect_error({"run"}, 2, "model.path is missing");
  expect_error({"run", "none.yaml"}, 2, "none.yaml: the run file cannot be read: No such file");
  expect_error(run_arguments({"--set", "nvme.queue_dept=4"}), 2, "did you mean \"queue_depth\"?");
  expect_error(run_arguments({"--max-new-tokens", "0"}), 2, "--max-new-tokens: ");
  expect_error(run_arguments({"--log-level", "loud"}), 2,
               "--log-level: loud not in {error,warn,info,debug}");
  expect_error({"run", "--set", "nvme.direct=true", "nvme.queue_depth=4"}, 2,
               "nvme.queue_depth=4: there is no such run file; every KEY=VALUE needs a --set");
  expect_error({"run", "."}, 2, ".: the run file cannot be read: Is a directory");
  expect_error({"run", "--log-level", "ERROR"}, 2, "model.path is missing");
  expect_error({"run", "--model", "m", "--input", "a", "--output", "./a"}, 2, "is also job.input");
  expect_error({"tokenize", kModel, "--skip-special-tokens"}, 2, "--decode");
  expect_error({"clean", "--older-than", "soon"}, 2, "--older-than soon");
  expect_error({"pack", kModel, "-o", "s", "--dtype", "int8", "--layout", "rows"}, 2, "tiles only");
  expect_error({"pack", kModel, "-o", "s", "--dtype", "int4", "--group-size", "48"}, 2, "not 48");
  expect_error({"pack", kModel, "-o", "s", "--asymmetric"}, 2,
               "weights.asymmetric (--asymmetric) is for int8 and int4 weights");
  expect_error({"selftest", "--device", "gpu"}, 2, "--device");
}

TEST_F(CliTest, ProbeWritesAProfileThatReadsBack) {
  const CommandResult result = command({"probe", "--quick", "--directory", ".", "-o", "p.yaml"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, AllOf(HasSubstr("latency of 4 KiB"), HasSubstr("32 rows")));
  EXPECT_EQ(result.out, "");
  const HardwareProfile profile = read_hardware_profile(folder_.file("p.yaml"));
  EXPECT_GT(profile.storage.value().read.median, 0);
  EXPECT_GT(profile.gemm(DType::kBF16, false).seconds(1, 64, 64), 0);
  expect_error({"probe", "--directory", "none"}, 2, "--directory none: there is no such folder");
}

TEST_F(CliTest, FilesThatAreNotThere) {
  write_rows(1);
  expect_error({"run", "--model", kModel, "--input", "none.jsonl", "--output", "out.jsonl"}, 5,
               "none.jsonl");
  expect_error({"run", "--model", kModel, "--input", "in.jsonl", "--output", "none/out.jsonl"}, 5,
               "none/out.jsonl");
  expect_error({"run", "--model", kModel, "--input", "in.jsonl", "--output", "."}, 5,
               "cannot open .: Is a directory");
  expect_error(run_arguments({"--set", "job.report=none/r.json"}), 5, "none/r.json");
  expect_error({"info", kModel + "/model.safetensors"}, 4, "name the folder that holds it");
  std::filesystem::create_directory(folder_.file("empty"));
  expect_error({"run", "--model", "empty", "--input", "in.jsonl", "--output", "o.jsonl"}, 4,
               "config.json");
  EXPECT_FALSE(std::filesystem::exists(folder_.file("o.jsonl")));
  EXPECT_FALSE(std::filesystem::exists(folder_.file("o.jsonl.state")));
}

TEST_F(CliTest, RunFileIsRelativeToItself) {
  std::filesystem::create_directory(folder_.file("sub"));
  write("sub/rows.jsonl", R"({"id": "a", "prompt_token_ids": [1, 5]})");
  write("sub/run.yaml", "model: {path: '" + kModel +
                            "'}\n"
                            "job: {input: rows.jsonl, output: out.jsonl}\n"
                            "weights: {placement: nvme}\n"
                            "sampling: {max_new_tokens: 9}\n");
  const CommandResult result = command({"run", "sub/run.yaml", "--max-new-tokens", "2"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, HasSubstr("rows: 1 ok, 0 failed"));
  const auto rows = parse_lines(read("sub/out.jsonl"));
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0]["id"], "a");
  EXPECT_EQ(rows[0]["usage"], (Json{{"prompt_tokens", 2}, {"completion_tokens", 2}}));
  const Json report = Json::parse(read("sub/out.report.json"));
  EXPECT_EQ(report["rows"]["ok"], 1);
  EXPECT_EQ(report["tokens"], (Json{{"prompt", 2}, {"generated", 2}, {"reused", 0}}));
  EXPECT_EQ(report["config"]["sampling"]["max_new_tokens"], 2);
  EXPECT_GT(report["weights"]["streamed_bytes_per_pass"], 0);
  EXPECT_GT(report["io"]["bytes_read"], 0);
  EXPECT_EQ(report["config"]["model"]["store"], report["model"]["store"]);
  EXPECT_EQ(report["config"]["nvme"]["engine"], report["io"]["engine"]);
  EXPECT_GT(report["config"]["device"]["threads"], 0);
  EXPECT_EQ(report["config"]["device"]["memory"], report["config"]["host"]["memory"]);
}

TEST_F(CliTest, StandardInputAndOutput) {
  const CommandResult result =
      command({"run", "--model", kModel, "--input", "-", "--output", "-", "--max-new-tokens", "2"},
              "{\"prompt_token_ids\": [4]}\n{\"prompt_token_ids\": [5]}");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(parse_lines(result.out).size(), 2u);
}

TEST_F(CliTest, BadRowsEndInExitCodeSeven) {
  write("in.jsonl", "{\"prompt_token_ids\": [4]}\nnonsense\n{\"prompt\": \"no tokenizer\"}\n");
  const CommandResult first = command(run_arguments());
  EXPECT_EQ(first.exit_code, 7) << first.err;
  EXPECT_EQ(parse_lines(read("out.jsonl")).size(), 3u);
  EXPECT_THAT(read("out.jsonl"), HasSubstr("\"usage\":{\"prompt_tokens\":0,"));
  const CommandResult again = command(run_arguments());
  EXPECT_EQ(again.exit_code, 7) << "failed rows are tried again";
  EXPECT_EQ(parse_lines(read("out.jsonl")).size(), 3u);
}

TEST_F(CliTest, ChangedSettingsAreRefused) {
  write_rows(2);
  ASSERT_EQ(command(run_arguments()).exit_code, 0);
  const std::string before = read("out.jsonl");
  expect_error(run_arguments({"--set", "sampling.top_k=3"}), 2, "sampling.top_k was 0 and is 3");
  EXPECT_EQ(read("out.jsonl"), before);
  EXPECT_EQ(
      command(run_arguments({"--set", "sampling.top_k=3", "--set", "job.resume=false"})).exit_code,
      0);
}

// What is known before the model is packed is checked before.
TEST_F(CliTest, WhatCannotRunIsNotPacked) {
  write_rows(2);
  ASSERT_EQ(command(run_arguments({"--set", "model.store=first"})).exit_code, 0);
  const std::pair<const char*, const char*> cases[] = {
      {"weights.dtype=bf16", "weights.dtype was \"fp32\" and is \"bf16\""},
      {"sampling.temperature=0.3", "sampling.temperature was 0.0 and is 0.3"},
      {"sampling.stop_token_ids=[100000]", "is not below the vocabulary size"},
      {"sampling.stop=x", "the model has no tokenizer"},
      {"kv_cache.dtype=int8", "kv_cache.dtype was not set and is \"int8\""},
      {"device.int8_activations=true", "needs int8 or int4 weights"}};
  for (const auto& [set, message] : cases)
    expect_error(run_arguments({"--set", "model.store=second", "--set", set}), 2, message);
  expect_error(run_arguments({"--set", "model.store=second", "--set", "host.memory=1KiB"}), 3,
               "but may use 1.00 KiB");
  std::vector<std::string> score = run_arguments({"--set", "model.store=second"});
  score[0] = "score";
  expect_error(score, 2, "it holds generated rows");
  EXPECT_FALSE(std::filesystem::exists(folder_.file("second")));
}

// The same values, by their names or as `auto`.
TEST_F(CliTest, SettingsThatAreTheSameGoOn) {
  write_rows(2);
  ASSERT_EQ(command(run_arguments({"--set", "weights.dtype=int8"})).exit_code, 0);
  EXPECT_EQ(command(run_arguments({"--set", "weights.dtype=int8", "--set", "kv_cache.dtype=bf16"}))
                .exit_code,
            0);
}

TEST_F(CliTest, InterruptLeavesValidRows) {
  write_rows(2000, 40);
  const auto arguments = run_arguments({"--set", "batch.max_sequences=4"});
  for (const int signal : {SIGINT, SIGTERM}) {
    Command running(arguments, folder_.path().string());
    wait_for_output(2000);
    kill(running.process(), signal);
    EXPECT_EQ(running.wait().exit_code, 128 + signal);
    EXPECT_FALSE(parse_lines(read("out.jsonl")).empty());
    EXPECT_EQ(Json::parse(read("out.report.json"))["stopped"], true);
    std::filesystem::remove(folder_.file("out.jsonl"));
  }
}

TEST_F(CliTest, SecondRunOnOneOutputIsRefused) {
  write_rows(2000, 40);
  const auto arguments = run_arguments({"--set", "batch.max_sequences=1"});
  Command running(arguments, folder_.path().string());
  for (int i = 0; i < 500 && !std::filesystem::exists(folder_.file("out.jsonl")); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  const std::string other = folder_.file("other");
  std::filesystem::create_directory(other);
  const CommandResult second =
      run_command({"run", "--model", kModel, "--input", folder_.file("in.jsonl"), "--output",
                   folder_.file("out.jsonl")},
                  other);
  EXPECT_EQ(second.exit_code, 2);
  EXPECT_THAT(second.err, HasSubstr("another run"));
}

TEST_F(CliTest, FullDiskEndsInExitCodeFive) {
  write_rows(3);
  expect_error({"run", "--model", kModel, "--input", "in.jsonl", "--output", "/dev/full", "--quiet",
                "--set", "job.report=~"},
               5, "No space left on device");
}

TEST_F(CliTest, TooLittleMemoryEndsInExitCodeThree) {
  write_rows(1);
  expect_error(run_arguments({"--set", "host.memory=1KiB"}), 3, "");
}

TEST_F(CliTest, PackAndInfo) {
  ASSERT_EQ(command({"pack", kModel, "-o", "store", "--dtype", "bf16"}).exit_code, 0);
  const Json store = Json::parse(command({"info", "store", "--json", "--verify"}).out);
  EXPECT_EQ(store["kind"], "packed store");
  EXPECT_EQ(store["dtype"], "bf16");
  EXPECT_EQ(store["layout"], "tile64");
  EXPECT_EQ(store["verified"], true);
  const Json checkpoint = Json::parse(command({"info", kModel, "--json"}).out);
  EXPECT_EQ(checkpoint["format"], "safetensors");
  EXPECT_EQ(checkpoint["model"], store["model"]);
  EXPECT_THAT(command({"info", kModel}).out, HasSubstr("model_type: llama"));
  expect_error({"pack", kModel, "-o", "store"}, 2, "--overwrite replaces it");
  expect_error({"pack", "store", "-o", "again"}, 2, "store is a packed store already");
  expect_error({"info", kModel, "--verify"}, 2, "no packed store");
  expect_error({"info", "none"}, 4, "none");

  std::string weights = read("store/weights.bin");
  weights[weights.size() / 2] ^= 1;
  write("store/weights.bin", weights);
  expect_error({"info", "store", "--verify"}, 4, "weights.bin");
}

TEST_F(CliTest, PackAndInfoOfQuantisedWeights) {
  ASSERT_EQ(command({"pack", kModel, "-o", "store", "--dtype", "int4", "--group-size", "32",
                     "--asymmetric", "--quantise-head"})
                .exit_code,
            0);
  const Json store = Json::parse(command({"info", "store", "--json", "--verify"}).out);
  EXPECT_EQ(store["dtype"], "int4");
  EXPECT_EQ(store["group_size"], 32);
  EXPECT_EQ(store["asymmetric"], true);
  EXPECT_EQ(store["quantised_head"], true);
  EXPECT_GT(store["bits_per_weight"], 4);
  EXPECT_EQ(store["verified"], true);
  write_rows(1);
  expect_error({"run", "--model", "store", "--input", "in.jsonl", "--output", "out.jsonl", "--set",
                "weights.group_size=64"},
               2, "is a packed store of int4-g32-asymmetric-head, not of int4-g64");
  expect_error(run_arguments({"--set", "device.int8_activations=true"}), 2,
               "device.int8_activations: needs int8 or int4 weights");
}

TEST_F(CliTest, ScoreSaysHowProbableTextsAre) {
  write("in.jsonl", R"({"id": "a", "token_ids": [1, 2, 3, 4]})"
                    "\n"
                    R"({"id": "b", "prompt_token_ids": [5, 6, 7]})"
                    "\n"
                    R"({"id": "c", "token_ids": [8]})"
                    "\n");
  std::vector<std::string> arguments = run_arguments();
  arguments[0] = "score";
  ASSERT_EQ(command(arguments).exit_code, 0);
  double sum = 0;
  for (const Json& row : parse_lines(read("out.jsonl"))) {
    EXPECT_TRUE(row["logprobs"][0].is_null());
    double row_sum = 0;
    for (size_t i = 1; i < row["logprobs"].size(); ++i) row_sum += row["logprobs"][i].get<double>();
    EXPECT_NEAR(row["sum_logprob"], row_sum, 1e-5);
    EXPECT_EQ(row["usage"]["prompt_tokens"], row["token_ids"].size());
    sum += row_sum;
  }
  Json score = Json::parse(read("out.report.json"))["score"];
  EXPECT_EQ(score["tokens"], 5);
  EXPECT_NEAR(score["perplexity"], std::exp(-sum / 5), 1e-3);

  // More rows, one of them bad: the totals are still of the whole output.
  write("in.jsonl", read("in.jsonl") + R"({"token_ids": [9, 10]})"
                                       "\n"
                                       R"({"token_ids": [9, 10], "temperature": 1})"
                                       "\n");
  arguments.pop_back();  // --quiet
  const CommandResult more = command(arguments);
  EXPECT_EQ(more.exit_code, 7) << more.err;
  EXPECT_THAT(more.err, AllOf(HasSubstr("3 rows finished already"), HasSubstr("score: perplexity "),
                              HasSubstr("over 6 tokens")));
  score = Json::parse(read("out.report.json"))["score"];
  EXPECT_EQ(score["tokens"], 6);
  EXPECT_EQ(parse_lines(read("out.jsonl")).size(), 5u);
  expect_error(run_arguments(), 2, "was made with other settings (it holds scores): name another");
  expect_error({"score", "--max-new-tokens", "3"}, 2, "--max-new-tokens");
  EXPECT_THAT(command({"score", "--model", kModel, "--input", "in.jsonl", "--output", "-"}).out,
              HasSubstr("\"perplexity\""));
}

TEST_F(CliTest, CleanRemovesCachedStores) {
  write_rows(1);
  ASSERT_EQ(command(run_arguments()).exit_code, 0);
  EXPECT_THAT(command({"clean", "--older-than", "1d"}).out, HasSubstr("freed 0 B of 0 stores"));
  EXPECT_THAT(command({"clean", "--dry-run"}).out, HasSubstr("of 1 store in"));
  EXPECT_THAT(command({"clean"}).out, AllOf(HasSubstr("removed"), HasSubstr("of 1 store in")));
  EXPECT_THAT(command({"clean"}).out, HasSubstr("freed 0 B of 0 stores"));
}

TEST_F(CliTest, DoctorSpeaksJson) {
  const CommandResult result = command({"doctor", "--json"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_GT(Json::parse(result.out).size(), 8u);
  EXPECT_THAT(command({"doctor"}).out, HasSubstr("io_uring"));
}

TEST_F(CliTest, FileNamesMayBeNoUtf8) {
  const std::string folder = "mod\xE9le";
  std::filesystem::copy(kModel, folder_.file(folder), std::filesystem::copy_options::recursive);
  const std::string output = folder + "/out.jsonl";
  write_rows(2);
  for (const char* rows : {"computed", "kept"}) {
    const CommandResult run =
        command({"run", "--model", folder, "--input", "in.jsonl", "--output", output});
    EXPECT_EQ(run.exit_code, 0) << rows << ": " << run.err;
    EXPECT_EQ(parse_lines(read(output)).size(), 2u);
    EXPECT_NO_THROW(Json::parse(read(folder + "/out.report.json")));
  }
  EXPECT_EQ(command({"pack", folder, "-o", folder + "/store"}).exit_code, 0);
  for (const std::vector<std::string>& about :
       {std::vector<std::string>{"info", folder + "/store", "--json"},
        {"info", folder, "--json"},
        {"selftest", "--directory", folder, "--json"}}) {
    const CommandResult result = command(about);
    EXPECT_EQ(result.exit_code, 0) << about[0] << ": " << result.err;
    EXPECT_NO_THROW(Json::parse(result.out)) << about[0];
  }
}

TEST_F(CliTest, TraceAndReportPage) {
  write_rows(3);
  ASSERT_EQ(command(run_arguments({"--set", "job.trace=t.json", "--set", "weights.placement=nvme"}))
                .exit_code,
            0);
  EXPECT_GT(Json::parse(read("t.json"))["traceEvents"].size(), 20u);
  const std::string text = read("out.report.json");
  EXPECT_LT(text.size(), 1u << 20);
  const Json report = Json::parse(text);
  EXPECT_EQ(report["config"]["job"]["trace"], "t.json");
  EXPECT_EQ(report["history"]["points"].size(),
            report["passes"]["prefill"].get<size_t>() + report["passes"]["decode"].get<size_t>());
  EXPECT_FALSE(report["timeline"]["windows"][0]["spans"].empty());

  ASSERT_EQ(command({"report", "out.report.json", "-o", "page.html"}).exit_code, 0);
  EXPECT_THAT(read("page.html"),
              AllOf(StartsWith("<!DOCTYPE html>"), HasSubstr("9 tokens for 3 rows")));
  EXPECT_EQ(command({"report", "out.report.json", "-o", "-"}).out, read("page.html"));
}

TEST_F(CliTest, TraceOfAStoppedRunIsWhole) {
  write_rows(2000, 40);
  Command running(run_arguments({"--set", "batch.max_sequences=4", "--set", "job.trace=t.json"}),
                  folder_.path().string());
  wait_for_output(2000);
  kill(running.process(), SIGTERM);
  EXPECT_EQ(running.wait().exit_code, 128 + SIGTERM);
  EXPECT_GT(Json::parse(read("t.json"))["traceEvents"].size(), 20u);
  EXPECT_FALSE(std::filesystem::exists(folder_.file("t.json.partial")));
}

TEST_F(CliTest, TracesAndPagesThatCannotBe) {
  write_rows(1);
  expect_error(run_arguments({"--set", "job.trace=out.jsonl"}), 2, "is also job.output");
  expect_error(run_arguments({"--set", "job.trace=-"}), 2, "job.trace: stdout is for rows");
  expect_error(run_arguments({"--set", "job.trace=none/t.json"}), 5, "none/t.json");
  write("bad.json", "{\"rows\": ");
  write("foreign.json", "{\"rows\": 3}");
  expect_error({"report", "bad.json", "-o", "p.html"}, 2, "bad.json");
  expect_error({"report", "foreign.json", "-o", "p.html"}, 2, "no report of zerostream run");
  expect_error({"report", "none.json", "-o", "p.html"}, 5, "none.json");
  expect_error({"report", "foreign.json"}, 2, "--output is required");
  expect_error({"report", "foreign.json", "-o", "foreign.json"}, 2, "is the report itself");
  EXPECT_FALSE(std::filesystem::exists(folder_.file("p.html")));
}

TEST_F(CliTest, TokenizeNeedsATokenizer) { expect_error({"tokenize", "none"}, 4, "none"); }

}  // namespace
}  // namespace zerostream
