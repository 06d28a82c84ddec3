#include "offload/store_cache.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <optional>

#include "model/input_file.h"
#include "offload/manifest.h"
#include "offload/pack.h"
#include "offload/store_files.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxNameLength = 60;

// "Llama-3-8B-bf16-tile64-0123456789abcdef": readable first, unique last.
std::string cache_name(const Checkpoint& checkpoint, const PackOptions& options,
                       const std::string& fingerprint) {
  const fs::path path = fs::absolute(checkpoint.path()).lexically_normal();
  std::string name = (path.has_filename() ? path : path.parent_path()).filename().string();
  name.resize(std::min(name.size(), kMaxNameLength));
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '_') c = '-';
  }
  return name + "-" + format_name(pack_format(checkpoint, options)) + "-" +
         std::string(layout_name(options.layout)) + "-" + fingerprint;
}

// What options ask of a store; where they leave it open, what the store is.
StoreFormat asked_format(const StoreFormat& format, PackOptions options) {
  options.layout = format.layout;
  const DType dtype = options.dtype.value_or(format.dtype);
  if (dtype == format.dtype && format.quantised()) {
    options.group_size = options.group_size.value_or(format.group_size);
    options.asymmetric |= format.has_zeros;
    options.quantise_head |= format.quantised_head;
  }
  return pack_format(dtype, format.compute_dtype, options);
}

PackedStore open_given_store(const std::string& folder, const PackOptions& options) {
  PackedStore store = PackedStore::open(folder);
  const StoreFormat& format = store.format();
  const StoreFormat asked = asked_format(format, options);
  if (asked != format) {
    throw UsageError(folder + " is a packed store of " + format_name(format) + ", not of " +
                     format_name(asked) + "; pack the checkpoint again as that");
  }
  return store;
}

// Marks a store as used now; a folder that may not be written stays as it is.
void touch(const std::string& folder) {
  utimensat(AT_FDCWD, path_in(folder, kCompleteFile).c_str(), nullptr, 0);
}

// A complete, sound store of that model, if the folder holds one.
std::optional<PackedStore> existing_store(const std::string& folder, const std::string& fingerprint,
                                          const PackOptions& options,
                                          const std::function<void(const std::string&)>& note) {
  if (!is_committed(folder)) return std::nullopt;
  try {
    PackedStore store = PackedStore::open(folder);
    const bool same = store.fingerprint() == fingerprint &&
                      store.manifest().at("layout") == layout_name(options.layout);
    if (same) return store;
  } catch (const CheckpointError& error) {
    note(std::string(error.what()) + "; packing it again");
    return std::nullopt;
  }
  if (options.overwrite) return std::nullopt;
  throw UsageError(
      folder +
      " holds a store of another checkpoint, dtype, group size or layout; remove it or name "
      "another folder");
}

fs::directory_iterator entries(const std::string& folder) {
  std::error_code error;
  fs::directory_iterator begin(folder, error);
  if (error) throw IoError("cannot list " + folder + ": " + error.message(), error.value());
  return begin;
}

int64_t folder_bytes(const std::string& folder) {
  int64_t bytes = 0;
  for (const fs::directory_entry& entry : entries(folder)) {
    struct stat info {};
    if (stat(entry.path().c_str(), &info) == 0) bytes += static_cast<int64_t>(info.st_blocks) * 512;
  }
  return bytes;
}

std::chrono::system_clock::time_point last_change(const std::string& folder, bool complete) {
  struct stat info {};
  stat((complete ? path_in(folder, kCompleteFile) : folder).c_str(), &info);
  return std::chrono::system_clock::from_time_t(info.st_mtime);
}

}  // namespace

PackedStore open_or_pack(const std::string& model_path, const std::string& store_folder,
                         const std::string& cache_root, const PackOptions& options,
                         const std::function<void(const std::string&)>& note) {
  if (PackedStore::is_store(model_path)) return open_given_store(model_path, options);
  const Checkpoint checkpoint = options.dummy_weights ? Checkpoint::open_config_only(model_path)
                                                      : Checkpoint::open(model_path);
  const std::string fingerprint = pack_fingerprint(checkpoint, options);
  const std::string folder = store_folder.empty()
                                 ? path_in(cache_root, cache_name(checkpoint, options, fingerprint))
                                 : store_folder;
  std::optional<PackedStore> store =
      existing_store(folder, fingerprint, options, [](const std::string&) {});
  if (!store) {
    make_folder(parent_folder(folder));
    const FolderLock lock(folder, [&] { note("waiting for another process to pack " + folder); });
    store = existing_store(folder, fingerprint, options, note);
    if (!store) {
      if (options.before_packing) options.before_packing(checkpoint);
      note("packing " + model_path + " into " + folder);
      pack_into_locked(checkpoint, folder, options);
      store = PackedStore::open(folder);
    }
  }
  touch(folder);
  return *std::move(store);
}

std::vector<CachedStore> list_cached_stores(const std::string& cache_root) {
  std::vector<CachedStore> stores;
  if (!file_exists(cache_root)) return stores;
  for (const fs::directory_entry& entry : entries(cache_root)) {
    const std::string path = entry.path().string();
    if (!entry.is_directory() ||
        !(PackedStore::is_store(path) || file_exists(path_in(path, kWeightsFile)))) {
      continue;
    }
    const bool complete = is_committed(path);
    stores.push_back({path, folder_bytes(path), complete, last_change(path, complete)});
  }
  std::sort(stores.begin(), stores.end(),
            [](const CachedStore& a, const CachedStore& b) { return a.last_used < b.last_used; });
  return stores;
}

void remove_cached_store(const CachedStore& store) {
  const FolderLock lock(store.path, {});
  remove_store_files(store.path);
}

}  // namespace zerostream
