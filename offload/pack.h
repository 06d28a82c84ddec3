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
  // For int8 and int4 only: inputs of a group (32, 64 or 128), whether groups have zeros of their
  // own, whether the head is quantised, too.
  std::optional<int32_t> group_size = std::nullopt;  // absent: 64
  bool asymmetric = false;
  bool quantise_head = false;
  WeightLayout layout = WeightLayout::kTile64;
  bool dummy_weights = false;  // seeded random weights; the checkpoint needs only a config
  bool overwrite = false;      // replace a complete store
  // Bytes of weights written so far and in all; called now and then.
  std::function<void(int64_t done, int64_t total)> progress = nullptr;
  // Called by open_or_pack() when it is about to pack; may throw to prevent it.
  std::function<void(const Checkpoint& checkpoint)> before_packing = nullptr;
};

// Packs a checkpoint into `folder` in one pass, holding less than 2 GiB whatever the model's size.
// The disk space is reserved before anything is written (IoError ENOSPC names bytes needed and
// free). A folder that another packer works on is waited for (file lock). An incomplete store is
// replaced; a complete one is refused (UsageError) without `overwrite`. All missing, left over and
// misshapen tensors are listed in one CheckpointError.
void pack_store(const Checkpoint& checkpoint, const std::string& folder,
                const PackOptions& options);

// The format of a store with these options, whatever their dtype says. compute_dtype: of a
// quantised store. Throws UsageError for options that do not go together.
StoreFormat pack_format(DType dtype, DType compute_dtype, const PackOptions& options);

// What a store made of a checkpoint with these options is: its format, and the fingerprint of
// checkpoint, format and recipe that stands in it. A quantised store computes in fp16 where the
// checkpoint is fp16, else in bf16: what is not quantised stays as it was, or (fp32) loses what it
// loses in a bf16 store.
StoreFormat pack_format(const Checkpoint& checkpoint, const PackOptions& options);
std::string pack_fingerprint(const Checkpoint& checkpoint, const PackOptions& options);

// pack_store() for who holds the folder's lock (store_files.h) and knows that what is there may go.
void pack_into_locked(const Checkpoint& checkpoint, const std::string& folder,
                      const PackOptions& options);

// The store for a model path: itself when it is a store, else a complete store in `store_folder`
// (empty: the cache folder below `cache_root`, keyed by the checkpoint's fingerprint, format
// and layout), packed now if it is not there or incomplete. `note` gets lines for the user
// ("packing
// ... into ...").
PackedStore open_or_pack(const std::string& model_path, const std::string& store_folder,
                         const std::string& cache_root, const PackOptions& options,
                         const std::function<void(const std::string&)>& note);

}  // namespace zerostream
