#include "offload/packed_store.h"

#include <algorithm>

#include "base/buffer.h"
#include "base/digest.h"
#include "model/input_file.h"
#include "nvme/transfer.h"
#include "offload/manifest.h"
#include "offload/store_files.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int64_t kReadBytes = int64_t{16} << 20;

uint64_t read_digest(const File& file, const Segment& segment) {
  Digest digest;
  const Buffer buffer = allocate_host(std::min(segment.bytes, kReadBytes));
  for (int64_t done = 0; done < segment.bytes; done += kReadBytes) {
    const int64_t bytes = std::min(kReadBytes, segment.bytes - done);
    read_fully(file, segment.offset + done, buffer.data(), bytes);
    digest.update(buffer.data(), static_cast<size_t>(bytes));
  }
  file.drop_cache();
  return digest.value();
}

void verify_text_files(const std::string& folder, const Json& manifest) {
  const std::string source = path_in(folder, kManifestFile);
  const auto files = manifest.find("files");
  if (files == manifest.end() || !files->is_object()) {
    throw CheckpointError(source + ": \"files\" is missing");
  }
  for (const auto& [name, digest] : files->items()) {
    const std::string path = path_in(folder, name);
    if (name.find('/') != std::string::npos || !file_exists(path)) {
      throw CheckpointError(path + " is missing");
    }
    if (digest != digest_to_hex(digest_of(read_text_file(path)))) {
      throw CheckpointError(path + " is damaged: its digest is not that of the manifest");
    }
  }
}

}  // namespace

PackedStore PackedStore::open(const std::string& folder) {
  const std::string manifest_path = path_in(folder, kManifestFile);
  if (!file_exists(manifest_path)) {
    throw CheckpointError(folder + " is no packed store: it has no manifest.json");
  }
  if (!file_exists(path_in(folder, kCompleteFile))) {
    throw CheckpointError(folder + " is not complete: packing was interrupted; pack it again");
  }
  if (!is_committed(folder)) {
    throw CheckpointError(manifest_path + " is damaged: its digest is not that in COMPLETE");
  }
  PackedStore store;
  store.path_ = folder;
  store.manifest_ = read_json_file(manifest_path);
  Manifest manifest = manifest_from_json(store.manifest_, manifest_path);
  const std::string config_path = path_in(folder, kConfigFile);
  store.config_json_ = read_json_file(config_path);
  store.layout_.config = parse_model_config(store.config_json_, config_path);
  check_contents(manifest, weight_specs(store.layout_.config), manifest_path);

  store.weights_path_ = path_in(folder, kWeightsFile);
  const int64_t size = File::open(store.weights_path_, {}).size();
  if (size != manifest.contents.file_bytes) {
    throw CheckpointError(store.weights_path_ + " has " + std::to_string(size) +
                          " bytes, the manifest says " +
                          std::to_string(manifest.contents.file_bytes));
  }
  const std::string generation_path = path_in(folder, kGenerationConfigFile);
  store.generation_config_ =
      file_exists(generation_path) ? read_json_file(generation_path) : Json::object();
  store.format_ = manifest.format;
  store.layout_.dtype = manifest.format.dtype;
  store.layout_.compute_dtype = manifest.format.compute_dtype;
  store.fingerprint_ = std::move(manifest.fingerprint);
  store.layout_.segments = std::move(manifest.contents.segments);
  store.layout_.vectors_segment = std::move(manifest.contents.vectors_segment);
  store.vectors_ = std::move(manifest.contents.vectors);
  return store;
}

bool PackedStore::is_store(const std::string& folder) {
  return file_exists(path_in(folder, kManifestFile));
}

bool PackedStore::has_tokenizer() const { return file_exists(path_in(path_, kTokenizerFile)); }

void PackedStore::verify() const {
  verify_text_files(path_, manifest_);
  const File file = File::open(weights_path_, {});
  verify_segment(vectors_segment(), file);
  for (const Segment& segment : segments()) verify_segment(segment, file);
}

void PackedStore::verify_segment(const Segment& segment, const File& weights) const {
  compare_digest(segment, read_digest(weights, segment), weights_path_);
}

void check_digest(const Segment& segment, const std::byte* data, const std::string& file) {
  compare_digest(segment, digest_of(data, static_cast<size_t>(segment.bytes)), file);
}

void compare_digest(const Segment& segment, uint64_t digest, const std::string& file) {
  if (digest == segment.digest) return;
  throw CheckpointError(
      file + ": segment \"" + segment.name + "\" (" + std::to_string(segment.bytes) + " bytes at " +
      std::to_string(segment.offset) + ") is damaged: its digest is not that of the manifest");
}

}  // namespace zerostream
