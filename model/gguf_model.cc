// GGUF files presented as Hugging Face checkpoints: config from metadata, tensors under HF names.
#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "model/checkpoint_content.h"
#include "model/gguf.h"
#include "model/gguf_config.h"
#include "model/gguf_parts.h"
#include "model/storage_type.h"
#include "model/tensor_shape.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

// ggml's numbers of the types that can be read.
constexpr std::array<std::pair<uint32_t, StorageType>, 17> kTypes = {{{0, StorageType::kF32},
                                                                      {1, StorageType::kF16},
                                                                      {2, StorageType::kQ4_0},
                                                                      {3, StorageType::kQ4_1},
                                                                      {6, StorageType::kQ5_0},
                                                                      {7, StorageType::kQ5_1},
                                                                      {8, StorageType::kQ8_0},
                                                                      {9, StorageType::kQ8_1},
                                                                      {10, StorageType::kQ2K},
                                                                      {11, StorageType::kQ3K},
                                                                      {12, StorageType::kQ4K},
                                                                      {13, StorageType::kQ5K},
                                                                      {14, StorageType::kQ6K},
                                                                      {15, StorageType::kQ8K},
                                                                      {20, StorageType::kIQ4NL},
                                                                      {23, StorageType::kIQ4XS},
                                                                      {30, StorageType::kBF16}}};
// Names of others, for messages.
constexpr std::array<std::pair<uint32_t, std::string_view>, 11> kOtherTypes = {{{16, "IQ2_XXS"},
                                                                                {17, "IQ2_XS"},
                                                                                {18, "IQ3_XXS"},
                                                                                {19, "IQ1_S"},
                                                                                {21, "IQ3_S"},
                                                                                {22, "IQ2_S"},
                                                                                {29, "IQ1_M"},
                                                                                {34, "TQ1_0"},
                                                                                {35, "TQ2_0"},
                                                                                {39, "MXFP4"},
                                                                                {40, "NVFP4"}}};

constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kModelNames = {
    {{"token_embd.", "model.embed_tokens."},
     {"output_norm.", "model.norm."},
     {"output.", "lm_head."}}};
constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kLayerNames = {
    {{"attn_norm.", "input_layernorm."},
     {"attn_q.", "self_attn.q_proj."},
     {"attn_k.", "self_attn.k_proj."},
     {"attn_v.", "self_attn.v_proj."},
     {"attn_output.", "self_attn.o_proj."},
     {"attn_q_norm.", "self_attn.q_norm."},
     {"attn_k_norm.", "self_attn.k_norm."},
     {"ffn_norm.", "post_attention_layernorm."},
     {"ffn_gate.", "mlp.gate_proj."},
     {"ffn_up.", "mlp.up_proj."},
     {"ffn_down.", "mlp.down_proj."}}};
constexpr std::string_view kRopeDivisors = "rope_freqs.weight";
constexpr int64_t kMostRopeDivisors = 1 << 16;

template <size_t N>
std::optional<std::string> renamed(
    std::string_view name,
    const std::array<std::pair<std::string_view, std::string_view>, N>& table) {
  for (const auto& [from, to] : table)
    if (name.starts_with(from)) return std::string(to) + std::string(name.substr(from.size()));
  return std::nullopt;
}

// Names that are not known stay as they are, to be reported as left over.
std::string hf_name(std::string_view name) {
  constexpr std::string_view kBlock = "blk.";
  if (!name.starts_with(kBlock)) return renamed(name, kModelNames).value_or(std::string(name));
  const size_t dot = name.find('.', kBlock.size());
  if (dot == std::string_view::npos) return std::string(name);
  const auto inner = renamed(name.substr(dot + 1), kLayerNames);
  if (!inner) return std::string(name);
  return "model.layers." + std::string(name.substr(kBlock.size(), dot - kBlock.size())) + "." +
         *inner;
}

std::string type_text(uint32_t type) {
  for (const auto& [number, name] : kOtherTypes)
    if (number == type) return std::string(name);
  return "number " + std::to_string(type);
}

Json tensor_values(const InputFile& file, const CheckpointTensor& tensor) {
  const auto count = element_count(tensor.shape).value_or(0);
  if (count > kMostRopeDivisors)
    throw CheckpointError(file.path() + ": tensor " + tensor.name + " " + shape_text(tensor.shape) +
                          ": more than " + std::to_string(kMostRopeDivisors) + " divisors");
  std::vector<std::byte> bytes(static_cast<size_t>(tensor.bytes));
  file.read(tensor.offset, bytes.data(), tensor.bytes);
  std::vector<float> values(static_cast<size_t>(count));
  decode_elements(tensor.type, bytes.data(), count, values.data());
  return values;
}

std::string supported_types() {
  std::string names;
  for (const auto& [number, type] : kTypes)
    names += (names.empty() ? "" : ", ") + std::string(storage_type_name(type));
  return names;
}

const StorageType* find_type(uint32_t number) {
  for (const auto& [known, type] : kTypes)
    if (known == number) return &type;
  return nullptr;
}

void check_types(const GgufHeader& header, const std::string& path) {
  std::string unreadable;
  for (const GgufTensor& tensor : header.tensors)
    if (find_type(tensor.type) == nullptr)
      unreadable += "\n  tensor " + tensor.name + " " + shape_text(tensor.shape) + ": type " +
                    type_text(tensor.type) + " is not supported";
  if (!unreadable.empty())
    throw CheckpointError(path + ": tensors that cannot be read (" + supported_types() +
                          " can):" + unreadable);
}

// Of a type that is supported.
CheckpointTensor read_tensor(const GgufTensor& source, const InputFile& file) {
  const auto fail = [&](const std::string& what) {
    throw CheckpointError(file.path() + ": tensor " + source.name + " " + shape_text(source.shape) +
                          ": " + what);
  };
  CheckpointTensor tensor = {.name = hf_name(source.name),
                             .type = *find_type(source.type),
                             .shape = source.shape,
                             .offset = source.offset};
  const StorageBlock block = storage_block(tensor.type);
  const int64_t elements = element_count(source.shape).value_or(0);
  if (source.shape.empty() || source.shape.back() % block.elements != 0)
    fail("rows are no whole number of blocks of " + std::to_string(block.elements));
  if (__builtin_mul_overflow(elements / block.elements, block.bytes, &tensor.bytes))
    fail("too large");
  if (tensor.bytes > file.size() || tensor.offset > file.size() - tensor.bytes)
    fail(
        "ends at byte " +
        std::to_string(static_cast<uint64_t>(tensor.offset) + static_cast<uint64_t>(tensor.bytes)) +
        ", the file has " + std::to_string(file.size()) + ": it is truncated");
  return tensor;
}

void check_overlaps(const CheckpointContent& content) {
  std::vector<const CheckpointTensor*> order;
  for (const CheckpointTensor& tensor : content.tensors) order.push_back(&tensor);
  std::ranges::sort(order, {}, [](const CheckpointTensor* tensor) {
    return std::pair(tensor->file, tensor->offset);
  });
  for (size_t i = 1; i < order.size(); ++i)
    if (order[i - 1]->file == order[i]->file &&
        order[i - 1]->offset + order[i - 1]->bytes > order[i]->offset)
      throw CheckpointError(content.files[static_cast<size_t>(order[i]->file)].path() +
                            ": tensors " + order[i - 1]->name + " and " + order[i]->name +
                            " overlap");
}

// llama files hold q and k with the halves of each head interleaved.
void mark_permuted(Json& config, CheckpointContent& content) {
  for (CheckpointTensor& tensor : content.tensors) {
    const bool query = tensor.name.find(".self_attn.q_proj.") != std::string::npos;
    const bool key = tensor.name.find(".self_attn.k_proj.") != std::string::npos;
    if (!query && !key) continue;
    const Json& heads = config[query ? "num_attention_heads" : "num_key_value_heads"];
    const int64_t count = heads.is_number_integer() ? heads.get<int64_t>() : 0;
    if (count <= 0 || count > INT32_MAX || tensor.shape[0] % (2 * count) != 0)
      throw CheckpointError(content.files.front().path() + ": tensor " + tensor.name + " " +
                            shape_text(tensor.shape) + " is not made of " + heads.dump() +
                            " heads");
    tensor.permuted_heads = static_cast<int32_t>(count);
  }
}

void add_tokenizer(const Json& metadata, const std::string& path, CheckpointContent& content) {
  if (!metadata.contains("tokenizer.ggml.model")) return;
  try {
    content.tokenizer = gguf_tokenizer_json(metadata, path);
  } catch (const CheckpointError& error) {
    content.tokenizer_problem = error.what();
  }
  if (const auto chat = metadata.find("tokenizer.chat_template"); chat != metadata.end())
    content.tokenizer_config = {{"chat_template", *chat}};
}

// Adds a file's tensors; what rope_freqs holds goes into `divisors`.
void add_file(InputFile file, const GgufHeader& header, CheckpointContent& content,
              Json& divisors) {
  check_types(header, file.path());
  for (const GgufTensor& source : header.tensors) {
    CheckpointTensor tensor = read_tensor(source, file);
    tensor.file = static_cast<int32_t>(content.files.size());
    if (source.name == kRopeDivisors)
      divisors = tensor_values(file, tensor);
    else
      content.tensors.push_back(std::move(tensor));
  }
  content.files.push_back(std::move(file));
}

}  // namespace

CheckpointContent open_gguf(const std::string& path) {
  GgufHeader opened = read_gguf_header(path);
  const std::vector<std::string> parts = gguf_parts(path, opened.metadata);
  CheckpointContent content;
  content.format = "gguf";
  Json metadata, divisors;
  for (const std::string& part : parts) {
    InputFile file(part);
    GgufHeader header = part == path ? std::move(opened) : read_gguf_header(file);
    check_gguf_part(header.metadata, parts, content.files.size());
    if (content.files.empty()) metadata = std::move(header.metadata);
    add_file(std::move(file), header, content, divisors);
  }
  check_overlaps(content);
  content.config = gguf_config(metadata, content.tensors, divisors, parts.front());
  if (content.config["model_type"] == "llama") mark_permuted(content.config, content);
  add_tokenizer(metadata, parts.front(), content);
  return content;
}

}  // namespace zerostream
