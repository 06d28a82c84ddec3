#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "model/gguf.h"
#include "model/json.h"
#include "model/tokenizer.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

namespace fs = std::filesystem;

bool is_gguf(const std::string& path) {
  char magic[4] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof magic);
  return std::string_view(magic, sizeof magic) == "GGUF";
}

Json read_if_there(const fs::path& path) {
  return fs::exists(path) ? read_json_file(path.string()) : Json();
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const std::string& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) {
    const fs::path file = fs::path(path) / "tokenizer.json";
    if (!fs::exists(file)) throw CheckpointError(path + ": there is no tokenizer.json");
    return make_tokenizer(read_json_file(file.string()),
                          read_if_there(fs::path(path) / "tokenizer_config.json"), file.string());
  }
  if (!is_gguf(path)) return make_tokenizer(read_json_file(path), Json(), path);
  return make_tokenizer(gguf_tokenizer_json(read_gguf_header(path).metadata, path), Json(), path);
}

}  // namespace zerostream
