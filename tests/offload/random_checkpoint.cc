#include "tests/offload/random_checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <random>
#include <span>

#include "base/require.h"
#include "tests/support/temp_dir.h"

namespace zerostream {
namespace {

const SourceTensor& source_of(std::span<const SourceTensor> sources, int64_t& output) {
  for (const SourceTensor& source : sources) {
    if (output < source.rows) return source;
    output -= source.rows;
  }
  throw InternalError("no source has this output");
}

void grow(std::vector<int64_t>& shape, size_t axis, int64_t size) {
  shape[axis] = std::max(shape[axis], size);
}

}  // namespace

void RandomCheckpoint::write(const std::string& folder) const {
  std::filesystem::create_directories(folder);
  write_file(folder + "/config.json", config.dump());
  Json header = Json::object();
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    const size_t begin = data.size();
    data.append(reinterpret_cast<const char*>(tensor.values.data()), tensor.values.size() * 4);
    header[name] = {
        {"dtype", "F32"}, {"shape", tensor.shape}, {"data_offsets", {begin, data.size()}}};
  }
  const std::string text = header.dump();
  const uint64_t size = text.size();
  write_file(folder + "/model.safetensors",
             std::string(reinterpret_cast<const char*>(&size), 8) + text + data);
}

float RandomCheckpoint::value(const MatrixSpec& spec, int64_t output, int64_t input,
                              size_t half) const {
  const std::span<const SourceTensor> all(spec.sources);
  const SourceTensor& source = source_of(spec.gated ? all.subspan(half, 1) : all, output);
  const RandomTensor& tensor = tensors.at(source.name);
  const int64_t row = source.row_begin + output;
  const int64_t index =
      source.transposed ? input * tensor.shape[1] + row : row * spec.inputs + input;
  return tensor.values[static_cast<size_t>(index)];
}

float RandomCheckpoint::value(const VectorSpec& spec, int64_t index, size_t half) const {
  const std::span<const SourceTensor> all(spec.sources);
  const SourceTensor& source = source_of(spec.gated ? all.subspan(half, 1) : all, index);
  if (source.name.empty()) return 0;
  return tensors.at(source.name).values[static_cast<size_t>(source.row_begin + index)];
}

RandomCheckpoint make_random_checkpoint(const Json& config, uint32_t seed) {
  RandomCheckpoint checkpoint;
  checkpoint.config = config;
  checkpoint.specs = weight_specs(parse_model_config(config, "test config"));
  for (const MatrixSpec& spec : checkpoint.specs.matrices) {
    for (const SourceTensor& source : spec.sources) {
      std::vector<int64_t>& shape = checkpoint.tensors[source.name].shape;
      shape.resize(2);
      grow(shape, source.transposed ? 1 : 0, source.row_begin + source.rows);
      grow(shape, source.transposed ? 0 : 1, spec.inputs);
    }
  }
  for (const VectorSpec& spec : checkpoint.specs.vectors) {
    for (const SourceTensor& source : spec.sources) {
      std::vector<int64_t>& shape = checkpoint.tensors[source.name].shape;
      shape.resize(1);
      grow(shape, 0, source.row_begin + source.rows);
    }
  }
  checkpoint.tensors.erase("");
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.1f);
  for (auto& [name, tensor] : checkpoint.tensors) {
    int64_t size = 1;
    for (const int64_t length : tensor.shape) size *= length;
    tensor.values.resize(static_cast<size_t>(size));
    for (float& value : tensor.values) value = normal(random);
  }
  return checkpoint;
}

Json odd_llama_config() {
  return Json::parse(R"({
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 203,
    "hidden_size": 72, "intermediate_size": 150, "num_hidden_layers": 2,
    "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 12, "hidden_act": "silu",
    "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    "tie_word_embeddings": false, "attention_bias": true, "mlp_bias": true,
    "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32"})");
}

Json odd_gpt2_config() {
  return Json::parse(R"({
    "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 131,
    "n_embd": 40, "n_layer": 2, "n_head": 5, "n_positions": 30, "n_ctx": 30, "n_inner": null,
    "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
    "bos_token_id": 1, "eos_token_id": 2})");
}

StoredCode stored_code(const StoredMatrix& run, const std::byte* segment, int64_t output,
                       int64_t input) {
  const bool int4 = run.dtype == DType::kI4;
  const int64_t tile_width = int4 ? 128 : 64;
  const int64_t tiles_bytes = (run.inputs + tile_width - 1) / tile_width * 4096;
  const int64_t groups = (run.inputs + run.group_size - 1) / run.group_size;
  const int64_t group_bytes = run.has_zeros ? 192 : 128;
  const int64_t table_bytes = (groups * group_bytes + 4095) / 4096 * 4096;
  const auto* panel = reinterpret_cast<const uint8_t*>(segment) + run.offset +
                      output / 64 * (tiles_bytes + table_bytes);
  const int64_t in_tile = input % tile_width % 64;
  const uint8_t byte =
      panel[input / tile_width * 4096 + in_tile / 4 * 256 + output % 64 * 4 + in_tile % 4];
  const bool high = int4 && input % tile_width >= 64;
  StoredCode stored;
  stored.code = int4 ? (high ? byte >> 4 : byte & 15) : byte;
  stored.zero = run.has_zeros ? 0 : int4 ? 8 : 128;
  if (input / run.group_size >= groups) return stored;
  const uint8_t* group = panel + tiles_bytes + input / run.group_size * group_bytes;
  stored.scale = load_float(group, DType::kF16, output % 64);
  if (run.has_zeros) stored.zero = group[128 + output % 64];
  return stored;
}

float stored_value(const StoredMatrix& run, const std::byte* segment, int64_t output,
                   int64_t input) {
  if (run.group_size != 0) return stored_code(run, segment, output, input).value();
  const std::byte* data = segment + run.offset;
  if (run.layout == WeightLayout::kRows) {
    return load_float(data, run.dtype, output * run.inputs + input);
  }
  const int64_t group = run.dtype == DType::kF32 ? 1 : 2;
  const int64_t tile_width = 16 * group;
  const int64_t tiles = ceil_div(run.inputs, tile_width);
  const std::byte* tile = data + (output / 64 * tiles + input / tile_width) * 4096;
  return load_float(tile, run.dtype,
                    input % tile_width / group * 64 * group + output % 64 * group + input % group);
}

}  // namespace zerostream
