#include "offload/pack.h"

#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/digest.h"
#include "model/input_file.h"
#include "offload/dummy_weights.h"
#include "offload/manifest.h"
#include "offload/store_files.h"
#include "offload/tensor_check.h"
#include "offload/weights_writer.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

// A store beside its weights: names and texts.
using TextFiles = std::vector<std::pair<std::string_view, std::string>>;

std::string text_of(const Json& json, int indent, const Checkpoint& checkpoint) {
  try {
    return json.dump(indent) + "\n";
  } catch (const Json::type_error&) {
    throw CheckpointError(checkpoint.path() + ": config or tokenizer hold text that is not UTF-8");
  }
}

TextFiles text_files(const Checkpoint& checkpoint) {
  TextFiles files;
  const auto add = [&](std::string_view name, const Json& json, int indent) {
    files.emplace_back(name, text_of(json, indent, checkpoint));
  };
  add(kConfigFile, checkpoint.config(), 2);
  if (!checkpoint.generation_config().empty()) {
    add(kGenerationConfigFile, checkpoint.generation_config(), 2);
  }
  if (!checkpoint.tokenizer().is_null()) add(kTokenizerFile, checkpoint.tokenizer(), -1);
  if (!checkpoint.tokenizer_config().is_null()) {
    add(kTokenizerConfigFile, checkpoint.tokenizer_config(), 2);
  }
  return files;
}

std::string manifest_text(const Manifest& manifest, const Checkpoint& checkpoint,
                          const PackOptions& options, const TextFiles& files) {
  Json json = manifest_to_json(manifest);
  json["recipe"] = kPackRecipe;
  json["dummy_weights"] = options.dummy_weights;
  json["source"] = {{"path", std::filesystem::absolute(checkpoint.path()).string()},
                    {"format", checkpoint.format()},
                    {"fingerprint", checkpoint.fingerprint()}};
  if (!checkpoint.tokenizer_problem().empty()) {
    json["tokenizer_problem"] = checkpoint.tokenizer_problem();
  }
  json["files"] = Json::object();
  for (const auto& [name, text] : files) {
    json["files"][std::string(name)] = digest_to_hex(digest_of(text));
  }
  return json_text(json, 1) + "\n";  // names files of the source
}

void refuse_foreign_folder(const std::string& folder) {
  std::error_code ignored;
  if (!std::filesystem::exists(folder, ignored)) return;
  if (!std::filesystem::is_directory(folder, ignored))
    throw UsageError(folder + " is not a folder");
  const bool store = file_exists(path_in(folder, kWeightsFile)) || PackedStore::is_store(folder);
  if (!store && !std::filesystem::is_empty(folder, ignored)) {
    throw UsageError(folder + " holds other files than a packed store's; name an empty folder");
  }
}

// Bytes on the disk of the weights that a new store replaces.
int64_t replaced_bytes(const std::string& folder) {
  struct stat info {};
  const bool there = stat(path_in(folder, kWeightsFile).c_str(), &info) == 0;
  return there ? static_cast<int64_t>(info.st_blocks) * 512 : 0;
}

[[noreturn]] void fail_disk_full(const std::string& folder, int64_t needed, int64_t free,
                                 const std::string& when) {
  throw IoError("no space to pack into " + folder + ": " + std::to_string(needed) + " bytes (" +
                    format_bytes(needed) + ") are needed, " + std::to_string(free) + " bytes (" +
                    format_bytes(free) + ") " + when,
                ENOSPC);
}

void write_store(const Checkpoint& checkpoint, const std::string& folder,
                 const PackOptions& options, const WeightSpecs& specs, const TextFiles& files,
                 Manifest& manifest) {
  const WeightSource weights =
      options.dummy_weights ? dummy_weights() : checkpoint_weights(checkpoint);
  write_weights(weights, specs, path_in(folder, kWeightsFile), options.progress, manifest.contents);
  for (const auto& [name, text] : files) write_text_file(path_in(folder, name), text);
  const std::string text = manifest_text(manifest, checkpoint, options, files);
  write_text_file(path_in(folder, kManifestFile), text);
  sync_folder(folder);
  write_text_file(path_in(folder, kCompleteFile), commit_text(text));
  sync_folder(folder);
  sync_folder(parent_folder(folder));
}

void check_not_quantised(DType dtype, const PackOptions& options) {
  const auto refuse = [&](const std::string& what) {
    throw UsageError("weights." + what + " is for int8 and int4 weights, not for " +
                     std::string(dtype_name(dtype)));
  };
  if (options.group_size.value_or(kDefaultGroupSize) != kDefaultGroupSize)
    refuse("group_size (--group-size)");
  if (options.asymmetric) refuse("asymmetric (--asymmetric)");
  if (options.quantise_head) refuse("quantise_head (--quantise-head)");
}

void check_quantised(const PackOptions& options) {
  const int32_t group_size = options.group_size.value_or(kDefaultGroupSize);
  if (group_size != 32 && group_size != 64 && group_size != 128)
    throw UsageError("the group size of quantised weights is 32, 64 or 128, not " +
                     std::to_string(group_size));
  if (options.layout != WeightLayout::kTile64)
    throw UsageError("int8 and int4 weights are packed in tiles only: layout rows is for others");
}

}  // namespace

StoreFormat pack_format(DType dtype, DType compute_dtype, const PackOptions& options) {
  switch (dtype) {
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
      check_not_quantised(dtype, options);
      return {.dtype = dtype, .compute_dtype = dtype, .layout = options.layout};
    case DType::kI8:
    case DType::kI4:
      check_quantised(options);
      return {.dtype = dtype,
              .compute_dtype = compute_dtype,
              .layout = options.layout,
              .group_size = options.group_size.value_or(kDefaultGroupSize),
              .has_zeros = options.asymmetric,
              .quantised_head = options.quantise_head};
    default:
      throw UsageError("weights cannot be packed as " + std::string(dtype_name(dtype)) +
                       ", only as fp32, fp16, bf16, int8 or int4");
  }
}

StoreFormat pack_format(const Checkpoint& checkpoint, const PackOptions& options) {
  const DType natural = checkpoint.natural_dtype();
  return pack_format(options.dtype.value_or(natural),
                     natural == DType::kF16 ? DType::kF16 : DType::kBF16, options);
}

std::string pack_fingerprint(const Checkpoint& checkpoint, const PackOptions& options) {
  const StoreFormat format = pack_format(checkpoint, options);
  std::string text = "recipe " + std::to_string(kPackRecipe) + " dtype " + format_name(format);
  if (format.quantised()) text.append(" with ").append(dtype_name(format.compute_dtype));
  text += options.dummy_weights ? " dummy " : " checkpoint ";
  return digest_to_hex(digest_of(text + checkpoint.fingerprint()));
}

void pack_into_locked(const Checkpoint& checkpoint, const std::string& folder,
                      const PackOptions& options) {
  refuse_foreign_folder(folder);
  const WeightSpecs specs =
      weight_specs(parse_model_config(checkpoint.config(), checkpoint.path()));
  if (!options.dummy_weights) check_tensors(checkpoint, specs);
  Manifest manifest;
  manifest.fingerprint = pack_fingerprint(checkpoint, options);
  manifest.format = pack_format(checkpoint, options);
  manifest.contents = layout_segments(specs, manifest.format);

  const TextFiles files = text_files(checkpoint);
  int64_t needed = manifest.contents.file_bytes;
  for (const auto& [name, text] : files) needed += static_cast<int64_t>(text.size());
  const int64_t free =
      free_bytes(file_exists(folder) ? folder : parent_folder(folder)) + replaced_bytes(folder);
  if (needed > free) fail_disk_full(folder, needed, free, "are free");

  remove_store_files(folder);
  make_folder(folder);
  try {
    write_store(checkpoint, folder, options, specs, files, manifest);
  } catch (const IoError& error) {
    remove_store_files(folder);
    if (error.error_number() == ENOSPC) {
      fail_disk_full(folder, needed, free, "were free when packing began");
    }
    throw;
  } catch (...) {
    remove_store_files(folder);
    throw;
  }
}

void pack_store(const Checkpoint& checkpoint, const std::string& folder,
                const PackOptions& options) {
  make_folder(parent_folder(folder));
  const FolderLock lock(folder, {});
  if (!options.overwrite && is_committed(folder)) {
    throw UsageError(folder + " holds a complete store; --overwrite replaces it");
  }
  pack_into_locked(checkpoint, folder, options);
}

}  // namespace zerostream
