// A checkpoint on disk, whatever its format.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "model/json.h"

namespace zerostream {

// How a tensor's elements are stored. Those from kQ4_0 on are GGUF's blocks.
enum class StorageType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kF8E4M3,  // without infinities ("fn")
  kF8E5M2,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ8_1,
  kQ2K,
  kQ3K,
  kQ4K,
  kQ5K,
  kQ6K,
  kQ8K,
  kIQ4NL,
  kIQ4XS
};
std::string_view storage_type_name(StorageType type);

struct BlockScales;

// A tensor under its Hugging Face name, shape [rows, cols] or [size] as there. Bytes at [offset,
// offset + bytes) of file number `file`.
struct CheckpointTensor {
  std::string name;
  StorageType type = StorageType::kF32;
  std::vector<int64_t> shape;
  int32_t file = 0;
  int64_t offset = 0;
  int64_t bytes = 0;
  int32_t permuted_heads = 0;  // > 0: rows of each of so many heads are interleaved halves (GGUF
                               // llama q and k); read_rows gives them in Hugging Face order
  bool transposed = false;     // a matrix that the file holds column by column
  std::shared_ptr<const BlockScales> scales = nullptr;  // of fp8; null: the elements are the values
};

// A factor for every block of `rows` x `cols` elements of a matrix; the last blocks may be partial.
struct BlockScales {
  int64_t rows = 0;
  int64_t cols = 0;
  CheckpointTensor factors;  // [ceil(matrix rows / rows), ceil(matrix cols / cols)], or one element
};

// Opens a Hugging Face folder (config.json and model.safetensors or pytorch_model.bin, or shards of
// either with an index) or a GGUF file (any part of one that is split). Opening reads headers only,
// and checks them: sizes against the files, offsets, shapes, duplicates, shards against the index.
//
// Threads: read_rows() from any number. Errors: CheckpointError naming file and tensor; IoError for
// failed reads.
class Checkpoint {
 public:
  static Checkpoint open(const std::string& path);
  // A folder of which only config.json (and tokenizer files) need exist: for random weights.
  static Checkpoint open_config_only(const std::string& path);
  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint();

  const std::string& path() const;
  const std::string& format() const;  // "safetensors", "pytorch", "gguf", "config only"
  const Json& config() const;         // config.json, or the same fields made from GGUF metadata
  const Json& generation_config()
      const;  // generation_config.json, an empty object if there is none
  // tokenizer.json as parsed from the folder or made from the GGUF's tokenizer; null if there is
  // none (or of a kind that is not supported: then tokenizer_problem() says why).
  // tokenizer_config.json likewise.
  const Json& tokenizer() const;
  const Json& tokenizer_config() const;
  const std::string& tokenizer_problem() const;

  const std::vector<CheckpointTensor>& tensors() const;
  const CheckpointTensor* find(const std::string& name) const;  // null if absent
  // The dtype that "as stored" means: that of most of the bytes; fp8 and blocks count as bf16.
  DType natural_dtype() const;
  // What identifies the content without reading it: config, tensor headers, file sizes and times.
  // Hex of XXH3.
  std::string fingerprint() const;

  // Reads rows [begin, begin + rows) of a matrix (elements of a vector: rows of one element) as
  // fp32 into target [rows, cols]. Reads in pieces; holds at most a few MiB besides.
  void read_rows(const CheckpointTensor& tensor, int64_t begin, int64_t rows, float* target) const;

 private:
  struct State;
  explicit Checkpoint(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace zerostream
