// The library as an embedding program sees it.
#include "zerostream/engine.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>

#include "tests/offload/golden_case.h"
#include "tests/support/temp_dir.h"

namespace zerostream {
namespace {

class EngineTest : public testing::Test {
 protected:
  EngineOptions options(const std::string& model = "llama3") {
    EngineOptions made;
    made.model = golden_path(model);
    made.cache_folder = cache_.file("cache");
    made.settings = {"weights.placement=nvme", "host.memory=256MiB", "batch.max_sequences=4",
                     "batch.token_budget=64", "weights.dtype=fp32"};
    return made;
  }
  static Prompt prompt(const GoldenPrompt& golden) {
    Prompt made;
    made.token_ids = golden.token_ids;
    made.max_new_tokens = static_cast<int32_t>(golden.generated.size());
    made.ignore_eos = true;
    return made;
  }

  TempDir cache_;
};

TEST_F(EngineTest, FuturesHoldTheReferenceText) {
  Engine engine(options());
  const std::vector<GoldenPrompt> prompts = golden_prompts("llama3");
  std::vector<std::future<Completion>> answers;
  for (const GoldenPrompt& golden : prompts) answers.push_back(engine.submit(prompt(golden)));
  for (size_t i = 0; i < prompts.size(); ++i) {
    const Completion completion = answers[i].get();
    EXPECT_EQ(completion.token_ids, prompts[i].generated);
    EXPECT_EQ(completion.finish_reason, "length");
    EXPECT_EQ(completion.prompt_tokens, static_cast<int32_t>(prompts[i].token_ids.size()));
  }
}

TEST_F(EngineTest, CallbacksGetEveryToken) {
  Engine engine(options());
  const std::vector<GoldenPrompt> prompts = golden_prompts("llama3");
  std::map<uint64_t, std::vector<int32_t>> tokens;
  std::map<uint64_t, Completion> completions;
  std::vector<uint64_t> ids;
  for (const GoldenPrompt& golden : prompts)
    ids.push_back(engine.submit(
        prompt(golden),
        {.on_token = [&](uint64_t id, int32_t token,
                         const std::string&) { tokens[id].push_back(token); },
         .on_completion =
             [&](Completion completion) { completions[completion.id] = completion; }}));
  engine.wait();
  for (size_t i = 0; i < prompts.size(); ++i) {
    EXPECT_EQ(tokens[ids[i]], prompts[i].generated);
    EXPECT_EQ(completions[ids[i]].token_ids, prompts[i].generated);
  }
}

TEST_F(EngineTest, LogProbabilitiesComeWithTheTokens) {
  Engine engine(options());
  Prompt asked = prompt(golden_prompts("llama3").front());
  asked.logprobs = 2;
  const Completion completion = engine.submit(asked).get();
  ASSERT_EQ(completion.logprobs.size(), completion.token_ids.size());
  for (size_t i = 0; i < completion.logprobs.size(); ++i) {
    EXPECT_EQ(completion.logprobs[i].chosen.token_id, completion.token_ids[i]);
    ASSERT_EQ(completion.logprobs[i].top.size(), 2u);
    EXPECT_EQ(completion.logprobs[i].top[0].token_id, completion.token_ids[i]) << "greedy";
    EXPECT_LE(completion.logprobs[i].top[1].logprob, completion.logprobs[i].top[0].logprob);
  }
}

TEST_F(EngineTest, CancelledPromptsEnd) {
  Engine engine(options());
  Prompt endless;
  endless.token_ids = {1, 2, 3};
  endless.max_new_tokens = 100'000;
  endless.ignore_eos = true;
  std::string reason;
  uint64_t id = 0;
  id = engine.submit(endless,
                     {.on_token = [&](uint64_t, int32_t, const std::string&) { engine.cancel(id); },
                      .on_completion = [&](Completion done) { reason = done.finish_reason; }});
  engine.wait();
  EXPECT_TRUE(reason == "cancelled" || reason == "length") << reason;
}

TEST_F(EngineTest, DestructionGivesEveryPromptACompletion) {
  int completions = 0;
  {
    Engine engine(options());
    Prompt asked;
    asked.token_ids = {1, 2, 3};
    asked.max_new_tokens = 200;
    for (int i = 0; i < 20; ++i)
      engine.submit(asked, {.on_token = {}, .on_completion = [&](Completion) { ++completions; }});
  }
  EXPECT_EQ(completions, 20);
}

TEST_F(EngineTest, BadPromptsAreRefusedByName) {
  Engine engine(options());
  const auto message = [&](const Prompt& bad) -> std::string {
    try {
      engine.submit(bad);
      return "accepted";
    } catch (const UsageError& error) {
      return error.what();
    }
  };
  Prompt bad;
  EXPECT_NE(message(bad).find("prompt"), std::string::npos);
  bad.token_ids = {1'000'000};
  EXPECT_NE(message(bad).find("1000000"), std::string::npos);
  bad.token_ids = {1};
  bad.top_p = 7.0f;
  EXPECT_NE(message(bad).find("top_p"), std::string::npos);
  bad = Prompt();
  bad.text = "text without a tokenizer";
  EXPECT_NE(message(bad).find("tokenizer"), std::string::npos);
}

TEST_F(EngineTest, BadOptionsAreRefused) {
  EngineOptions bad = options();
  bad.settings.push_back("nvme.queue_dept=3");
  EXPECT_THROW(Engine{bad}, UsageError);
  bad = options();
  bad.model = "/no/such/model";
  EXPECT_THROW(Engine{bad}, Error);
}

TEST_F(EngineTest, StoresGoToTheUsersCacheUnlessToldOtherwise) {
  const std::string before = std::getenv("XDG_CACHE_HOME") ? std::getenv("XDG_CACHE_HOME") : "";
  setenv("XDG_CACHE_HOME", cache_.file("user").c_str(), 1);
  EngineOptions plain = options();
  plain.cache_folder.clear();
  { Engine engine(plain); }
  EXPECT_TRUE(std::filesystem::exists(cache_.path() / "user" / "zerostream"));
  before.empty() ? unsetenv("XDG_CACHE_HOME") : setenv("XDG_CACHE_HOME", before.c_str(), 1);
}

TEST_F(EngineTest, TwoEnginesLiveSideBySide) {
  Engine first(options("llama2")), second(options("qwen3"));
  const GoldenPrompt llama = golden_prompts("llama2").front(),
                     qwen = golden_prompts("qwen3").front();
  std::future<Completion> one = first.submit(prompt(llama)), two = second.submit(prompt(qwen));
  EXPECT_EQ(one.get().token_ids, llama.generated);
  EXPECT_EQ(two.get().token_ids, qwen.generated);
}

}  // namespace
}  // namespace zerostream
