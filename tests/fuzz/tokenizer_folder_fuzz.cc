#include "model/folder_tokenizer.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/fuzz_targets.h"
#include "tests/support/temp_dir.h"

namespace zerostream {

// The files of a folder, in this order; empty ones are not there.
void fuzz_tokenizer_folder(std::string_view input) {
  constexpr std::array<const char*, 7> kFiles = {"tokenizer_config.json",
                                                 "special_tokens_map.json",
                                                 "added_tokens.json",
                                                 "vocab.json",
                                                 "merges.txt",
                                                 "vocab.txt",
                                                 "tokenizer.model"};
  const std::vector<std::string> parts = split_parts(input, kFiles.size());
  const TempDir folder;
  for (size_t i = 0; i < kFiles.size(); ++i)
    if (!parts[i].empty()) write_file(folder.file(kFiles[i]), parts[i]);
  const Json json = folder_tokenizer_json(folder.path().string());
  if (!json.is_null()) use_tokenizer(*make_tokenizer(json, Json(), "fuzz"), "A text, 123!");
}

}  // namespace zerostream
