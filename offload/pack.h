// Making packed stores.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "model/checkpoint.h"
#include "offload/packed_store.h"

namespace zerostream {

struct PackOptions {
  std::optional<DType> dtype = std::nullopt;  // absent: as stored (Checkpoint::natural_dtype)
  WeightLayout layout = WeightLayout::kTile64;
  bool dummy_weights = false;  // seeded random weights; the checkpoint needs only a config
  bool overwrite = false;      // replace a complete store
  // Bytes of weights written so far and in all; called now and then.
  std::function<void(int64_t done, int64_t total)> progress = nullptr;
};

// Packs a checkpoint into `folder` in one pass, holding less than 2 GiB whatever the model's size.
// The disk space is reserved before anything is written (IoError ENOSPC names bytes needed and
// free). A folder that another packer works on is waited for (file lock). An incomplete store is
// replaced; a complete one is refused (UsageError) without `overwrite`. All missing, left over and
// misshapen tensors are listed in one CheckpointError.
void pack_store(const Checkpoint& checkpoint, const std::string& folder,
                const PackOptions& options);

// What a store made with these options is: its dtype (UsageError unless fp32, fp16 or bf16), and
// the fingerprint of checkpoint, dtype and recipe that stands in it.
DType pack_dtype(const Checkpoint& checkpoint, const PackOptions& options);
std::string pack_fingerprint(const Checkpoint& checkpoint, const PackOptions& options);

// pack_store() for who holds the folder's lock (store_files.h) and knows that what is there may go.
void pack_into_locked(const Checkpoint& checkpoint, const std::string& folder,
                      const PackOptions& options);

// The store for a model path: itself when it is a store, else a complete store in `store_folder`
// (empty: the cache folder below `cache_root`, keyed by the checkpoint's fingerprint, dtype and
// layout), packed now if it is not there or incomplete. `note` gets lines for the user ("packing
// ... into ...").
PackedStore open_or_pack(const std::string& model_path, const std::string& store_folder,
                         const std::string& cache_root, const PackOptions& options,
                         const std::function<void(const std::string&)>& note);

}  // namespace zerostream
