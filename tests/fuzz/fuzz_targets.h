// The readers of files that nobody vouches for, each as a function over the bytes of such a file.
//
// A target feeds its input to one reader and uses what comes of it. The reader may refuse the input
// with an error of the project's own (zerostream/error.h, RowError); anything else that escapes is
// a finding. Inputs of several parts have them one behind the other, kPartBorder between them.
#pragma once

#include <array>
#include <string_view>

namespace zerostream {

void fuzz_blocks(std::string_view input);             // tensor data: number of the type, blocks
void fuzz_checkpoint_folder(std::string_view input);  // config.json, index, two shards
void fuzz_gguf(std::string_view input);               // GGUF file, with its tensors and tokenizer
void fuzz_hardware_profile(std::string_view input);   // YAML
void fuzz_job_state(std::string_view input);          // OUT.state, OUT
void fuzz_manifest(std::string_view input);           // config.json, manifest.json
void fuzz_model_config(std::string_view input);       // config.json, generation_config.json
void fuzz_pickle(std::string_view input);             // data.pkl of pytorch_model.bin
void fuzz_regex(std::string_view input);              // pattern, text
void fuzz_rows(std::string_view input);               // JSONL
void fuzz_run_config(std::string_view input);         // YAML, key=value
void fuzz_safetensors(std::string_view input);        // safetensors file
void fuzz_sentencepiece(std::string_view input);      // tokenizer.model, text
void fuzz_tokenizer(std::string_view input);          // tokenizer.json, text
void fuzz_tokenizer_folder(std::string_view input);   // see tokenizer_folder_fuzz.cc
void fuzz_torch(std::string_view input);              // pytorch_model.bin

struct FuzzTarget {
  std::string_view name;  // of its corpus, tests/fuzz/corpus/NAME
  void (*run)(std::string_view input);
};

inline constexpr std::array<FuzzTarget, 16> kFuzzTargets = {{
    {"blocks", fuzz_blocks},
    {"checkpoint_folder", fuzz_checkpoint_folder},
    {"gguf", fuzz_gguf},
    {"hardware_profile", fuzz_hardware_profile},
    {"job_state", fuzz_job_state},
    {"manifest", fuzz_manifest},
    {"model_config", fuzz_model_config},
    {"pickle", fuzz_pickle},
    {"regex", fuzz_regex},
    {"rows", fuzz_rows},
    {"run_config", fuzz_run_config},
    {"safetensors", fuzz_safetensors},
    {"sentencepiece", fuzz_sentencepiece},
    {"tokenizer", fuzz_tokenizer},
    {"tokenizer_folder", fuzz_tokenizer_folder},
    {"torch", fuzz_torch},
}};

}  // namespace zerostream
