#include "offload/rows.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/fuzz_targets.h"

namespace zerostream {
namespace {

const Tokenizer& words_tokenizer() {
  static const auto tokenizer = make_tokenizer(
      {{"model", {{"type", "WordLevel"}, {"vocab", {{"a", 0}, {"b", 1}}}, {"unk_token", "a"}}},
       {"pre_tokenizer", {{"type", "WhitespaceSplit"}}}},
      Json(), "fuzz");
  return *tokenizer;
}

RowContext context(const Tokenizer& tokenizer, Purpose purpose) {
  return {.purpose = purpose,
          .tokenizer = &tokenizer,
          .vocab_size = tokenizer.vocab_size(),
          .sampling = default_sampling(),
          .eos_ids = {0},
          .model_context = 64,
          .memory_context = 48,
          .over_length = OverLength::kTruncate};
}

}  // namespace

void fuzz_rows(std::string_view input) {
  const MemoryFile file(input);
  const std::atomic<bool> stop = false;
  RowReader reader(file.path(), stop);
  while (const auto row = reader.next()) {
    for (const Purpose purpose : {Purpose::kGenerate, Purpose::kScore}) {
      try {
        const GenerationRequest request = make_request(*row, context(words_tokenizer(), purpose));
        expect(request.prompt_tokens.size() + static_cast<size_t>(request.max_new_tokens) <= 48,
               "a request fits the memory");
      } catch (const RowError& error) {
        row->id.dump();
      }
    }
  }
}

}  // namespace zerostream
