// The engine inside another program: submits prompts, streams the first answer as it grows, then
// prints all.
//
//   embed MODEL [PROMPT ...]      MODEL: Hugging Face folder, GGUF file or packed store
#include <zerostream/engine.h>

#include <exception>
#include <future>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace {

// Prints tokens as they come; the future is the whole answer.
std::future<zerostream::Completion> stream(zerostream::Engine& engine,
                                           const zerostream::Prompt& prompt) {
  auto done = std::make_shared<std::promise<zerostream::Completion>>();
  zerostream::Callbacks callbacks;
  callbacks.on_token = [](uint64_t, int32_t, const std::string& text) {
    std::cout << text << std::flush;
  };
  callbacks.on_completion = [done](zerostream::Completion completion) {
    done->set_value(std::move(completion));
  };
  engine.submit(prompt, callbacks);
  return done->get_future();
}

void print(const zerostream::Completion& completion) {
  if (completion.finish_reason == "error") {
    std::cout << completion.error_code << ": " << completion.error_message << '\n';
    return;
  }
  std::cout << completion.text << "\n  (" << completion.prompt_tokens << " prompt tokens, "
            << completion.token_ids.size() << " generated, " << completion.finish_reason << ")\n";
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 2) {
    std::cerr << "usage: embed MODEL [PROMPT ...]\n";
    return 2;
  }
  std::vector<std::string> texts(argv + 2, argv + argc);
  if (texts.empty()) texts = {"The capital of France is", "Water boils at"};

  zerostream::EngineOptions options;
  options.model = argv[1];
  options.settings = {"weights.placement=nvme", "host.memory=1GiB", "sampling.max_new_tokens=48"};
  options.log = [](const std::string& line) { std::cerr << line << '\n'; };
  zerostream::Engine engine(options);

  // All prompts are submitted before the first is waited for: one trip through the weights serves
  // them all.
  auto first = stream(engine, {.text = texts.front()});
  std::vector<std::future<zerostream::Completion>> others;
  for (size_t i = 1; i < texts.size(); ++i) others.push_back(engine.submit({.text = texts[i]}));

  const zerostream::Completion streamed = first.get();
  std::cout << "\n\n";
  print(streamed);
  for (auto& other : others) print(other.get());
  return 0;
} catch (const zerostream::Error& error) {
  std::cerr << "embed: " << error.what() << '\n';
  return static_cast<int>(error.code());
} catch (const std::exception& error) {
  std::cerr << "embed: " << error.what() << '\n';
  return 1;
}
