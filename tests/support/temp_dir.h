// A folder for one test, removed when it goes.
#pragma once

#include <filesystem>
#include <string>

namespace zerostream {

class TempDir {
 public:
  TempDir();  // on the disk of the working folder, where direct I/O works, not on a tmpfs
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::filesystem::path& path() const { return path_; }
  // The path of `name` inside, as a string.
  std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

// Writes bytes to a file, replacing it; reads a whole file.
void write_file(const std::string& path, std::string_view content);
std::string read_file(const std::string& path);

}  // namespace zerostream
