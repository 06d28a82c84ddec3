#include "offload/store_files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/digest.h"
#include "model/input_file.h"
#include "nvme/transfer.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

[[noreturn]] void fail(const std::string& what, const std::string& path) {
  const int number = errno;
  throw IoError("cannot " + what + " " + path + ": " + std::strerror(number), number);
}

// Whether the locked file still is the one that the name leads to.
bool still_named(const File& file) {
  struct stat held {
  }, named{};
  if (fstat(file.fd(), &held) != 0) fail("stat", file.path());
  return stat(file.path().c_str(), &named) == 0 && held.st_dev == named.st_dev &&
         held.st_ino == named.st_ino;
}

void lock_file(const File& file, int flags) {
  while (flock(file.fd(), flags) != 0) {
    if (errno != EINTR) fail("lock", file.path());
  }
}

}  // namespace

std::string path_in(const std::string& folder, std::string_view name) {
  return (std::filesystem::path(folder) / name).string();
}

std::string read_text_file(const std::string& path) { return InputFile(path).read_all(); }

void make_folder(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    throw IoError("cannot make the folder " + folder + ": " + error.message(), error.value());
  }
}

void write_text_file(const std::string& path, std::string_view text) {
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
  const File file = File::open(path, {.write = true});
  write_fully(file, 0, reinterpret_cast<const std::byte*>(text.data()),
              static_cast<int64_t>(text.size()));
  file.sync();
}

void sync_folder(const std::string& folder) {
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) fail("open folder", folder);
  const int result = fsync(fd);
  const int number = errno;
  close(fd);
  errno = number;
  if (result != 0) fail("sync folder", folder);
}

int64_t free_bytes(const std::string& folder) {
  struct statvfs info {};
  if (statvfs(folder.c_str(), &info) != 0) fail("ask for the free space of", folder);
  return static_cast<int64_t>(info.f_bavail) * static_cast<int64_t>(info.f_frsize);
}

void remove_store_files(const std::string& folder) {
  if (!file_exists(folder)) return;
  constexpr std::array kFiles = {kCompleteFile,       kManifestFile,         kWeightsFile,
                                 kConfigFile,         kGenerationConfigFile, kTokenizerFile,
                                 kTokenizerConfigFile};
  for (const std::string_view name : kFiles) {
    const std::string path = path_in(folder, name);
    if (unlink(path.c_str()) != 0 && errno != ENOENT) fail("remove", path);
    if (name == kCompleteFile) sync_folder(folder);
  }
  rmdir(folder.c_str());
}

bool is_committed(const std::string& folder) {
  const std::string complete = path_in(folder, kCompleteFile);
  const std::string manifest = path_in(folder, kManifestFile);
  if (!file_exists(complete) || !file_exists(manifest)) return false;
  return read_text_file(complete) == commit_text(read_text_file(manifest));
}

std::string commit_text(std::string_view manifest_text) {
  return "xxh3 " + digest_to_hex(digest_of(manifest_text)) + " manifest.json\n";
}

std::string parent_folder(const std::string& folder) {
  return std::filesystem::absolute(path_in(folder, "")).parent_path().parent_path().string();
}

FolderLock::FolderLock(const std::string& folder, const std::function<void()>& on_wait) {
  const std::string path =
      std::filesystem::absolute(path_in(folder, "")).parent_path().string() + ".lock";
  bool told = !on_wait;
  do {
    file_ = File::open(path, {.write = true});
    if (!told && flock(file_.fd(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      told = true;
      on_wait();
    }
    lock_file(file_, LOCK_EX);
  } while (!still_named(file_));
}

FolderLock::~FolderLock() { unlink(file_.path().c_str()); }

}  // namespace zerostream
