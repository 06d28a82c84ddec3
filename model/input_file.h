// Plain reading of checkpoint files.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace zerostream {

// A regular file open for reading, or bytes in memory that stand for one. Movable; closes itself.
// Threads: const methods from any. Errors: CheckpointError for a file that is missing or no regular
// file, IoError with path, offset and errno for everything else that fails.
class InputFile {
 public:
  explicit InputFile(const std::string& path);
  // `path` is its name in errors.
  static InputFile of_bytes(std::string bytes, const std::string& path);
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;
  ~InputFile();

  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }                         // when it was opened
  int64_t modified_ns() const { return modified_ns_; }           // since the epoch
  void read(int64_t offset, void* target, int64_t bytes) const;  // all of it, or throws
  std::string read_text(int64_t offset, int64_t bytes) const;
  // All of a file that is read at once; CheckpointError for one of more than 1 GiB.
  std::string read_all() const;

 private:
  InputFile() = default;
  // As pread.
  ssize_t read_some(int64_t offset, char* target, int64_t bytes) const;

  int fd_ = -1;  // < 0: of bytes
  std::string bytes_;
  std::string path_;
  int64_t size_ = 0;
  int64_t modified_ns_ = 0;
};

bool file_exists(const std::string& path);

// A Git LFS stand-in (what a clone without LFS leaves) begins with this.
inline constexpr std::string_view kGitLfsMagic = "version https://git-lfs";
// CheckpointError if the file is one.
void refuse_git_lfs(const InputFile& file);

}  // namespace zerostream
