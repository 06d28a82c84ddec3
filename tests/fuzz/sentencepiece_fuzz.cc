#include "model/spm_model.h"
#include "model/tokenizer_parts.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/fuzz_targets.h"

namespace zerostream {

void fuzz_sentencepiece(std::string_view input) {
  const std::vector<std::string> parts = split_parts(input, 2);
  const SpmModel model = read_spm_model(parts[0], "fuzz");
  using Style = SpmUse::Style;
  constexpr std::array kStyles = {Style::kPlain, Style::kLlama, Style::kGemma, Style::kT5};
  const SpmUse use = {.style = kStyles[parts[1].size() % kStyles.size()],
                      .merge_order = MergeOrder::kByScore};
  const Json json = spm_tokenizer_json(model, use, "fuzz");
  use_tokenizer(*make_tokenizer(json, Json(), "fuzz"), parts[1]);
}

}  // namespace zerostream
