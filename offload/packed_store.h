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

#include "base/tensor.h"
#include "model/config.h"
#include "model/weights.h"
#include "nvme/file.h"

namespace zerostream {

inline constexpr int64_t kMaxSegmentBytes = int64_t{256} << 20;

// A run of the outputs of one matrix, inside a segment. Runs begin at whole panels (gated: at whole
// pairs of panels).
struct StoredMatrix {
  MatrixRole role = MatrixRole::kQkv;
  int32_t layer = kNoLayer;
  bool gated = false;
  DType dtype = DType::kF32;
  WeightLayout layout = WeightLayout::kTile64;
  int64_t inputs = 0;
  int64_t output_begin =
      0;  // of this run, in outputs of the whole matrix (gated: of one source, without padding)
  int64_t outputs = 0;  // of this run, likewise
  int64_t offset = 0;   // bytes from the segment's begin, 4 KiB aligned

  // The view of this run when its segment lies at `segment`; gated runs count 2 * round_up(outputs,
  // 64) outputs.
  PackedWeight weight(const std::byte* segment) const;
  int64_t bytes() const { return weight(nullptr).bytes(); }
};

// One contiguous run of weights.bin, 4 KiB aligned, at most kMaxSegmentBytes, in the order in which
// a pass needs them. Embeddings (layout rows) are segments too; a pass reads them by row when they
// are not resident.
struct Segment {
  std::string name;  // "layers.3.attention", "head.0", ...
  int64_t offset = 0;
  int64_t bytes = 0;    // multiple of 4 KiB
  uint64_t digest = 0;  // XXH3-64
  std::vector<StoredMatrix> matrices;
};

// A vector inside the vectors segment, fp32.
struct StoredVector {
  VectorRole role = VectorRole::kQkvBias;
  int32_t layer = kNoLayer;
  int64_t size = 0;    // elements, padding of gated ones counted
  int64_t offset = 0;  // bytes from the vectors segment's begin, 64-byte aligned
};

// Threads: const methods from any. Errors: CheckpointError when the folder is no complete store, or
// damaged (names the file, key or segment); IoError for failed reads.
class PackedStore {
 public:
  static PackedStore open(const std::string& folder);
  static bool is_store(const std::string& folder);  // has a manifest, complete or not

  const std::string& path() const { return path_; }
  const ModelConfig& config() const { return config_; }
  const Json& config_json() const { return config_json_; }
  const Json& generation_config() const { return generation_config_; }
  const Json& manifest() const { return manifest_; }
  DType dtype() const { return dtype_; }  // of the matrices
  const std::string& fingerprint() const {
    return fingerprint_;
  }  // of the model: checkpoint, dtype and recipe
  const std::string& weights_path() const { return weights_path_; }
  const std::vector<Segment>& segments() const { return segments_; }
  const Segment& vectors_segment() const { return vectors_segment_; }
  const std::vector<StoredVector>& vectors() const { return vectors_; }
  bool has_tokenizer() const;

  // Reads every file and compares digests. Throws CheckpointError naming the first segment or file
  // that differs.
  void verify() const;

 private:
  PackedStore() = default;
  std::string path_, weights_path_, fingerprint_;
  ModelConfig config_;
  Json config_json_, generation_config_, manifest_;
  DType dtype_ = DType::kF32;
  std::vector<Segment> segments_;
  Segment vectors_segment_;
  std::vector<StoredVector> vectors_;
};

// Throws CheckpointError naming segment and file unless XXH3-64 of the bytes is the segment's
// digest.
void check_digest(const Segment& segment, const std::byte* data, const std::string& file);

}  // namespace zerostream
