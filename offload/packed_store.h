// A packed store: a model's weights as the kernels want them, in segments that are fetched whole.
//
// A store is a folder: `manifest.json`, `weights.bin` (segments), the checkpoint's `config.json`,
// `generation_config.json`, `tokenizer.json`, `tokenizer_config.json` where it has them, and
// `COMPLETE`, written last. docs/store-format.md has it byte by byte.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "nvme/file.h"
#include "offload/model_layout.h"
#include "offload/segment_layout.h"

namespace zerostream {

// Threads: const methods from any. Errors: CheckpointError when the folder is no complete store, or
// damaged (names the file, key or segment); IoError for failed reads.
class PackedStore {
 public:
  static PackedStore open(const std::string& folder);
  static bool is_store(const std::string& folder);  // has a manifest, complete or not

  const std::string& path() const { return path_; }
  const ModelLayout& layout() const { return layout_; }
  const StoreFormat& format() const { return format_; }
  const ModelConfig& config() const { return layout_.config; }
  const Json& config_json() const { return config_json_; }
  const Json& generation_config() const { return generation_config_; }
  const Json& manifest() const { return manifest_; }
  const std::string& fingerprint() const {
    return fingerprint_;
  }  // of the model: checkpoint, format and recipe
  const std::string& weights_path() const { return weights_path_; }
  const std::vector<Segment>& segments() const { return layout_.segments; }
  const Segment& vectors_segment() const { return layout_.vectors_segment; }
  const std::vector<StoredVector>& vectors() const { return vectors_; }
  bool has_tokenizer() const;

  // Reads every file and compares digests. Throws CheckpointError naming the first segment or file
  // that differs.
  void verify() const;
  // The same for one segment. weights: an open file of weights_path().
  void verify_segment(const Segment& segment, const File& weights) const;

 private:
  PackedStore() = default;
  std::string path_, weights_path_, fingerprint_;
  StoreFormat format_;
  ModelLayout layout_;
  Json config_json_, generation_config_, manifest_;
  std::vector<StoredVector> vectors_;
};

// Throws CheckpointError naming segment and file unless XXH3-64 of the bytes is the segment's
// digest.
void check_digest(const Segment& segment, const std::byte* data, const std::string& file);
// The same where the digest of the bytes is known.
void compare_digest(const Segment& segment, uint64_t digest, const std::string& file);

}  // namespace zerostream
