#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "model/folder_tokenizer.h"
#include "model/gguf.h"
#include "model/input_file.h"
#include "model/json.h"
#include "model/tokenizer.h"
#include "model/tokenizer_parts.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

namespace fs = std::filesystem;

bool is_gguf(const std::string& path) {
  char magic[4] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof magic);
  return std::string_view(magic, sizeof magic) == "GGUF";
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const std::string& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) {
    const Json tokenizer = folder_tokenizer_json(path);
    if (tokenizer.is_null()) {
      throw CheckpointError(
          path +
          ": there is no tokenizer.json, tokenizer.model, spiece.model, vocab.json "
          "with merges.txt, or vocab.txt");
    }
    return make_tokenizer(tokenizer, Json(), path + "/tokenizer.json");
  }
  if (path.ends_with(".model")) {
    const InputFile file(path);
    const SpmModel model = read_spm_model(file.read_all(), path);
    return make_tokenizer(spm_tokenizer_json(model, {}, path), Json(), path);
  }
  if (!is_gguf(path)) return make_tokenizer(read_json_file(path), Json(), path);
  return make_tokenizer(gguf_tokenizer_json(read_gguf_header(path).metadata, path), Json(), path);
}

}  // namespace zerostream
