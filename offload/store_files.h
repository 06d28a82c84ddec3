// The files of a store's folder.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "nvme/file.h"

namespace zerostream {

inline constexpr std::string_view kManifestFile = "manifest.json";
inline constexpr std::string_view kWeightsFile = "weights.bin";
inline constexpr std::string_view kCompleteFile = "COMPLETE";
inline constexpr std::string_view kConfigFile = "config.json";
inline constexpr std::string_view kGenerationConfigFile = "generation_config.json";
inline constexpr std::string_view kTokenizerFile = "tokenizer.json";
inline constexpr std::string_view kTokenizerConfigFile = "tokenizer_config.json";

std::string path_in(const std::string& folder, std::string_view name);
// Absolute, without a slash at the end; `folder` may have one.
std::string parent_folder(const std::string& folder);
std::string read_text_file(const std::string& path);
// Makes the folder and those above it that are missing.
void make_folder(const std::string& folder);
// Replaces the file and waits until it is on the disk.
void write_text_file(const std::string& path, std::string_view text);
// Waits until names made and removed in the folder are on the disk.
void sync_folder(const std::string& folder);
// Bytes that an ordinary user may still write to the disk of an existing folder.
int64_t free_bytes(const std::string& folder);

// Removes what makes a folder a store, the commit marker first. Other files are left alone, and the
// folder too unless it is then empty.
void remove_store_files(const std::string& folder);

// True if COMPLETE is there and fits the manifest: nothing was written after it.
bool is_committed(const std::string& folder);
// Text of COMPLETE for a manifest's text.
std::string commit_text(std::string_view manifest_text);

// Held by who works on a folder that may not exist yet: a lock on the file `folder`.lock beside it,
// gone with the process and removed when it is released. Waits for another holder, after calling
// `on_wait` if given.
class FolderLock {
 public:
  FolderLock(const std::string& folder, const std::function<void()>& on_wait);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  File file_;
};

}  // namespace zerostream
