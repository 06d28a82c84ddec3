#include "tests/support/temp_dir.h"

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "base/require.h"

namespace zerostream {

TempDir::TempDir() {
  std::string pattern = (std::filesystem::current_path() / "zerostream-test-XXXXXX").string();
  require(mkdtemp(pattern.data()) != nullptr,
          "a temporary folder can be made in the working folder");
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void write_file(const std::string& path, std::string_view content) {
  std::ofstream stream(path, std::ios::binary | std::ios::trunc);
  stream.write(content.data(), static_cast<std::streamsize>(content.size()));
  stream.close();
  require(stream.good(), "test file " + path + " can be written");
}

std::string read_file(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  require(stream.good(), "test file " + path + " can be read");
  return {std::istreambuf_iterator<char>(stream), {}};
}

}  // namespace zerostream
