#include "model/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <random>

#include "base/dtype.h"
#include "model/config.h"
#include "model/tensor_shape.h"
#include "model/weights.h"
#include "tests/model/checkpoint_files.h"
#include "tests/support/temp_dir.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kGolden = ZS_TEST_DATA;

std::string error_of(const std::string& path) {
  try {
    Checkpoint::open(path);
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "";
}

std::vector<float> read_all(const Checkpoint& checkpoint, const std::string& name) {
  const CheckpointTensor* tensor = checkpoint.find(name);
  if (tensor == nullptr) throw std::out_of_range("no tensor " + name);
  std::vector<float> values(static_cast<size_t>(element_count(tensor->shape).value()));
  checkpoint.read_rows(*tensor, 0, tensor->shape[0], values.data());
  return values;
}

void expect_same_tensors(const Checkpoint& left, const Checkpoint& right) {
  ASSERT_EQ(left.tensors().size(), right.tensors().size());
  for (const CheckpointTensor& tensor : left.tensors()) {
    ASSERT_NE(right.find(tensor.name), nullptr) << tensor.name;
    EXPECT_EQ(tensor.shape, right.find(tensor.name)->shape) << tensor.name;
    EXPECT_EQ(read_all(left, tensor.name), read_all(right, tensor.name)) << tensor.name;
  }
}

std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kGolden))
    if (fs::exists(entry.path() / "config.json")) names.push_back(entry.path().filename());
  return names;
}

// A copy of a golden folder that a test may damage.
class CheckpointFolder : public ::testing::Test {
 protected:
  void copy(const std::string& name) {
    fs::copy(kGolden + "/" + name, folder_.path(),
             fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  }
  void edit(const std::string& name, const std::function<void(Json&)>& change) {
    Json json = read_json_file(folder_.file(name));
    change(json);
    write_file(folder_.file(name), json.dump());
  }
  std::string path() const { return folder_.path().string(); }
  TempDir folder_;
};

// What the specs ask for is in the file, in that shape, and the file holds nothing else.
TEST(Checkpoint, EveryGoldenFolderHoldsExactlyItsSpecs) {
  const auto names = golden_names();
  ASSERT_GE(names.size(), 20u);
  for (const std::string& name : names) {
    const Checkpoint checkpoint = Checkpoint::open(kGolden + "/" + name);
    const WeightSpecs specs = weight_specs(parse_model_config(checkpoint.config(), name));
    std::vector<std::string> used;
    for (const MatrixSpec& spec : specs.matrices)
      for (const SourceTensor& source : spec.sources) {
        const CheckpointTensor* tensor = checkpoint.find(source.name);
        ASSERT_NE(tensor, nullptr) << name << " " << source.name;
        std::vector<int64_t> shape = {source.rows, spec.inputs};
        if (source.transposed) std::swap(shape[0], shape[1]);
        EXPECT_EQ(tensor->shape, shape) << name << " " << source.name;
        used.push_back(source.name);
      }
    for (const VectorSpec& spec : specs.vectors)
      for (const SourceTensor& source : spec.sources) {
        ASSERT_NE(checkpoint.find(source.name), nullptr) << name << " " << source.name;
        EXPECT_THAT(checkpoint.find(source.name)->shape, ElementsAre(source.rows));
        used.push_back(source.name);
      }
    for (const CheckpointTensor& tensor : checkpoint.tensors())
      EXPECT_TRUE(std::ranges::count(used, tensor.name)) << name << " " << tensor.name;
  }
}

TEST_F(CheckpointFolder, RowsAreReadInEveryDtype) {
  std::vector<float> values = {0.0f, -0.0f, 1.5f, -2.25f, 65504.0f, 6.1e-5f, 5.9604645e-8f, 0.25f};
  std::string f32, f16, bf16;
  for (const float value : values) {
    f32 += bytes_of(value);
    f16 += bytes_of(float_to_fp16(value));
    bf16 += bytes_of(float_to_bf16(value));
  }
  f16.replace(4, 4, "\x00\x7c\x00\xfc", 4);  // infinities
  const Json header = {{"f32", safetensors_entry("F32", {4, 2}, 0, 32)},
                       {"f16", safetensors_entry("F16", {4, 2}, 32, 48)},
                       {"bf16", safetensors_entry("BF16", {8}, 48, 64)}};
  write_file(folder_.file("config.json"), "{}");
  write_file(folder_.file("model.safetensors"), safetensors_file(header, f32 + f16 + bf16));
  const Checkpoint checkpoint = Checkpoint::open(path());
  std::vector<float> rows(4);
  checkpoint.read_rows(*checkpoint.find("f32"), 1, 2, rows.data());
  EXPECT_THAT(rows, ElementsAre(1.5f, -2.25f, 65504.0f, 6.1e-5f));
  const auto halves = read_all(checkpoint, "f16");
  for (size_t i = 0; i < halves.size(); ++i) {
    uint16_t bits;
    std::memcpy(&bits, f16.data() + 2 * i, sizeof bits);
    EXPECT_EQ(halves[i], fp16_to_float(bits)) << i;
  }
  checkpoint.read_rows(*checkpoint.find("bf16"), 4, 4, rows.data());
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(rows[i], bf16_to_float(float_to_bf16(values[4 + i])));
  EXPECT_THROW(checkpoint.read_rows(*checkpoint.find("f32"), 3, 2, rows.data()), InternalError);
}

// More than one piece of reading, and pieces that do not divide the rows.
TEST_F(CheckpointFolder, LargeTensorsAreReadInPieces) {
  constexpr int64_t kRows = 1500, kCols = 777;
  std::vector<float> values(kRows * kCols);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const Json header = {{"w", safetensors_entry("F32", {kRows, kCols}, 0, kRows * kCols * 4)}};
  write_file(folder_.file("config.json"), "{}");
  write_file(folder_.file("model.safetensors"), safetensors_file(header, bytes_of_all(values)));
  EXPECT_EQ(read_all(Checkpoint::open(path()), "w"), values);
}

TEST_F(CheckpointFolder, ShardsAreTheSameAsOneFile) {
  copy("llama-sharded");
  const Checkpoint shards = Checkpoint::open(path());
  EXPECT_EQ(shards.format(), "safetensors");
  EXPECT_EQ(shards.natural_dtype(), DType::kBF16);
  EXPECT_NE(shards.find("model.embed_tokens.weight")->file, shards.find("lm_head.weight")->file);
  EXPECT_EQ(read_all(shards, "model.norm.weight").size(), 32u);
}

TEST_F(CheckpointFolder, ShardsAreCheckedAgainstTheIndex) {
  const std::string index = "model.safetensors.index.json";
  copy("llama-sharded");
  const Json original = read_json_file(folder_.file(index));
  const std::string second = "model-00002-of-00002.safetensors";
  edit(index, [&](Json& json) { json["weight_map"]["model.norm.weight"] = "../" + second; });
  EXPECT_THAT(error_of(path()), AllOf(HasSubstr(index), HasSubstr("model.norm.weight")));
  edit(index, [&](Json& json) { json["weight_map"]["model.norm.weight"] = "absent.safetensors"; });
  EXPECT_THAT(error_of(path()), HasSubstr("absent.safetensors is missing"));
  write_file(folder_.file(index), original.dump());
  edit(index, [&](Json& json) { json["weight_map"]["extra.weight"] = second; });
  EXPECT_THAT(error_of(path()), AllOf(HasSubstr(second), HasSubstr("extra.weight")));
  write_file(folder_.file(index), original.dump());
  edit(index, [&](Json& json) { json["weight_map"].erase("model.norm.weight"); });
  EXPECT_THAT(error_of(path()), HasSubstr("model.norm.weight is here"));
  write_file(folder_.file(index), "{}");
  EXPECT_THAT(error_of(path()), HasSubstr("weight_map"));
  write_file(folder_.file(index), original.dump());
  fs::remove(folder_.file(second));
  EXPECT_THAT(error_of(path()), HasSubstr(second + " is missing"));
}

// The layout of the Hugging Face cache: files are links to blobs.
TEST_F(CheckpointFolder, LinkedFilesAreFollowed) {
  copy("llama2");
  fs::create_directories(folder_.path() / "blobs");
  fs::create_directories(folder_.path() / "snapshots/main");
  for (const char* name : {"config.json", "model.safetensors"}) {
    fs::rename(folder_.file(name), folder_.path() / "blobs" / name);
    fs::create_symlink("../../blobs/" + std::string(name),
                       folder_.path() / "snapshots/main" / name);
  }
  expect_same_tensors(Checkpoint::open(folder_.file("snapshots/main")),
                      Checkpoint::open(kGolden + "/llama2"));
}

TEST_F(CheckpointFolder, DamagedFoldersAreErrors) {
  EXPECT_THAT(error_of(folder_.file("absent")), HasSubstr("absent does not exist"));
  EXPECT_THAT(error_of(path()), HasSubstr("config.json does not exist"));
  copy("llama2");
  const std::string weights = read_file(folder_.file("model.safetensors"));
  write_file(folder_.file("model.safetensors"), weights.substr(0, weights.size() - 10));
  EXPECT_THAT(error_of(path()), AllOf(HasSubstr("model.safetensors"), HasSubstr("10 are missing")));
  fs::remove(folder_.file("model.safetensors"));
  EXPECT_THAT(error_of(path()), HasSubstr("neither model.safetensors nor"));
  write_file(folder_.file("model.safetensors"),
             safetensors_file(Json{{"q", safetensors_entry("I32", {1}, 0, 4)},
                                   {"r", safetensors_entry("U8", {4}, 4, 8)}},
                              "12345678"));
  EXPECT_THAT(error_of(path()),
              AllOf(HasSubstr("tensor q [1]: dtype I32"), HasSubstr("tensor r [4]: dtype U8")));
}

TEST_F(CheckpointFolder, BareNamesAndMasks) {
  copy("gpt2");
  const Checkpoint checkpoint = Checkpoint::open(path());
  EXPECT_NE(checkpoint.find("transformer.h.0.attn.c_attn.weight"), nullptr);
  EXPECT_EQ(checkpoint.find("transformer.h.0.attn.bias"), nullptr);
  EXPECT_EQ(checkpoint.natural_dtype(), DType::kF32);
}

TEST_F(CheckpointFolder, AHeadOfItsOwnUnties) {
  copy("llama2");
  edit("config.json", [](Json& json) { json["tie_word_embeddings"] = true; });
  EXPECT_EQ(Checkpoint::open(path()).config()["tie_word_embeddings"], false);
  copy("smollm");
  EXPECT_EQ(Checkpoint::open(path()).config()["tie_word_embeddings"], true);
}

TEST_F(CheckpointFolder, ConfigOnly) {
  copy("llama-bf16");
  fs::remove(folder_.file("model.safetensors"));
  const Checkpoint checkpoint = Checkpoint::open_config_only(path());
  EXPECT_EQ(checkpoint.format(), "config only");
  EXPECT_TRUE(checkpoint.tensors().empty());
  EXPECT_EQ(checkpoint.natural_dtype(), DType::kBF16);
  EXPECT_EQ(checkpoint.config()["hidden_size"], 48);
  EXPECT_EQ(checkpoint.generation_config()["eos_token_id"], 2);
  EXPECT_TRUE(checkpoint.tokenizer().is_null());
  fs::remove(folder_.file("generation_config.json"));
  EXPECT_TRUE(Checkpoint::open_config_only(path()).generation_config().empty());
}

TEST_F(CheckpointFolder, TokenizerFiles) {
  copy("llama2");
  EXPECT_EQ(Checkpoint::open(path()).tokenizer_problem(), "");
  write_file(folder_.file("tokenizer.model"), "x");
  EXPECT_THAT(Checkpoint::open(path()).tokenizer_problem(), HasSubstr("tokenizer.model"));
  write_file(folder_.file("tokenizer.json"), R"({"model": {}})");
  write_file(folder_.file("tokenizer_config.json"), R"({"bos_token": "<s>"})");
  const Checkpoint checkpoint = Checkpoint::open(path());
  EXPECT_EQ(checkpoint.tokenizer_problem(), "");
  EXPECT_TRUE(checkpoint.tokenizer().contains("model"));
  EXPECT_EQ(checkpoint.tokenizer_config()["bos_token"], "<s>");
}

TEST_F(CheckpointFolder, FingerprintFollowsTheContentNotThePlace) {
  copy("llama2");
  const std::string before = Checkpoint::open(path()).fingerprint();
  EXPECT_EQ(before.size(), 16u);
  EXPECT_EQ(Checkpoint::open(path()).fingerprint(), before);
  fs::create_directory(folder_.path() / "moved");
  for (const char* name : {"config.json", "generation_config.json", "model.safetensors"})
    fs::rename(folder_.file(name), folder_.path() / "moved" / name);
  EXPECT_EQ(Checkpoint::open(folder_.file("moved")).fingerprint(), before);
  const fs::path weights = folder_.path() / "moved/model.safetensors";
  fs::last_write_time(weights, fs::last_write_time(weights) + std::chrono::seconds(1));
  EXPECT_NE(Checkpoint::open(folder_.file("moved")).fingerprint(), before);
}

// A GGUF file and its Hugging Face original hold the same values, bit for bit: all block types,
// permuted q and k, and the same config.
TEST(CheckpointGguf, IsTheSameAsItsOriginal) {
  for (const std::string name : {"llama-gguf", "llama3-gguf", "qwen3-gguf"}) {
    const Checkpoint gguf = Checkpoint::open(kGolden + "/" + name + "/model.gguf");
    const Checkpoint original = Checkpoint::open(kGolden + "/" + name);
    EXPECT_EQ(gguf.format(), "gguf");
    expect_same_tensors(gguf, original);
    const ModelConfig left = parse_model_config(gguf.config(), name);
    const ModelConfig right = parse_model_config(original.config(), name);
    EXPECT_EQ(left.model_type, right.model_type);
    EXPECT_EQ(left.vocab_size, right.vocab_size);
    EXPECT_EQ(left.hidden_size, right.hidden_size);
    EXPECT_EQ(left.intermediate_size, right.intermediate_size);
    EXPECT_EQ(left.num_hidden_layers, right.num_hidden_layers);
    EXPECT_EQ(left.num_attention_heads, right.num_attention_heads);
    EXPECT_EQ(left.num_key_value_heads, right.num_key_value_heads);
    EXPECT_EQ(left.head_dim, right.head_dim);
    EXPECT_EQ(left.max_position_embeddings, right.max_position_embeddings);
    EXPECT_FLOAT_EQ(left.norm_epsilon, right.norm_epsilon);
    EXPECT_EQ(left.tie_word_embeddings, right.tie_word_embeddings);
    EXPECT_EQ(left.qk_norm, right.qk_norm);
    EXPECT_EQ(left.eos_token_ids, right.eos_token_ids);
    ASSERT_EQ(left.rope.inverse_frequencies.size(), right.rope.inverse_frequencies.size());
    for (size_t i = 0; i < left.rope.inverse_frequencies.size(); ++i)
      EXPECT_FLOAT_EQ(left.rope.inverse_frequencies[i], right.rope.inverse_frequencies[i]) << name;
  }
}

TEST(CheckpointGguf, EveryBlockTypeIsAmongTheGoldenTensors) {
  const Checkpoint gguf = Checkpoint::open(kGolden + "/llama-gguf/model.gguf");
  for (StorageType type : {StorageType::kF32, StorageType::kF16, StorageType::kBF16,
                           StorageType::kQ8_0, StorageType::kQ4_0, StorageType::kQ4_1})
    EXPECT_TRUE(std::ranges::count(gguf.tensors(), type, &CheckpointTensor::type))
        << storage_type_name(type);
  EXPECT_EQ(gguf.find("model.layers.1.self_attn.q_proj.weight")->permuted_heads, 4);
  EXPECT_EQ(gguf.find("model.layers.1.self_attn.k_proj.weight")->permuted_heads, 2);
  EXPECT_EQ(gguf.find("model.layers.1.self_attn.v_proj.weight")->permuted_heads, 0);
  EXPECT_EQ(gguf.natural_dtype(), DType::kBF16);
}

TEST(CheckpointGguf, PermutedRowsAreReadFromTheMiddle) {
  const Checkpoint gguf = Checkpoint::open(kGolden + "/llama-gguf/model.gguf");
  const CheckpointTensor& tensor = *gguf.find("model.layers.0.self_attn.q_proj.weight");
  const auto all = read_all(gguf, tensor.name);
  std::vector<float> part(9 * 32);
  gguf.read_rows(tensor, 5, 9, part.data());
  EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin() + 5 * 32));
}

class CheckpointGgufFile : public ::testing::Test {
 protected:
  // A llama of one head whose only tensor is its embedding.
  static GgufBuilder llama(std::string_view architecture = "llama") {
    const std::string prefix = std::string(architecture) + ".";
    GgufBuilder builder;
    builder.string("general.architecture", architecture)
        .number(prefix + "embedding_length", 32)
        .number(prefix + "feed_forward_length", 64)
        .number(prefix + "block_count", 1)
        .number(prefix + "context_length", 128)
        .number(prefix + "attention.head_count", 1)
        .real(prefix + "attention.layer_norm_rms_epsilon", 1e-5f);
    return builder;
  }
  static void add_embedding(GgufBuilder& builder) {
    builder.tensor("token_embd.weight", {32, 4}, 0, 0);
  }
  std::string error_of_file(const std::string& content) {
    write_file(folder_.file("model.gguf"), content);
    return error_of(folder_.file("model.gguf"));
  }
  Json config_of(GgufBuilder builder) {
    add_embedding(builder);
    write_file(folder_.file("model.gguf"), builder.file(kData));
    return Checkpoint::open(folder_.file("model.gguf")).config();
  }
  std::string error_of_key(GgufBuilder builder) {
    add_embedding(builder);
    return error_of_file(builder.file(kData));
  }
  const std::string kData = std::string(512, '\0');
  TempDir folder_;
};

TEST_F(CheckpointGgufFile, ConfigFromMetadata) {
  GgufBuilder builder = llama();
  builder.real("llama.rope.freq_base", 5000.0f)
      .number("tokenizer.ggml.bos_token_id", 1)
      .number("tokenizer.ggml.eos_token_id", 2)
      .number("tokenizer.ggml.eot_token_id", 3);
  const Json config = config_of(builder);
  EXPECT_EQ(config["model_type"], "llama");
  EXPECT_EQ(config["vocab_size"], 4);
  EXPECT_EQ(config["head_dim"], 32);
  EXPECT_EQ(config["num_key_value_heads"], 1);
  EXPECT_EQ(config["rope_theta"], 5000.0);
  EXPECT_EQ(config["tie_word_embeddings"], true);
  EXPECT_EQ(config["bos_token_id"], 1);
  EXPECT_EQ(config["eos_token_id"], Json({2, 3}));
  EXPECT_FALSE(config.contains("rope_scaling"));
}

TEST_F(CheckpointGgufFile, RopeScaling) {
  const Json linear = {{"rope_type", "linear"}, {"factor", 4.0}};
  EXPECT_EQ(config_of(llama()
                          .string("llama.rope.scaling.type", "linear")
                          .real("llama.rope.scaling.factor", 4))["rope_scaling"],
            linear);
  EXPECT_EQ(config_of(llama().real("llama.rope.scale_linear", 4))["rope_scaling"], linear);
  EXPECT_FALSE(
      config_of(llama().string("llama.rope.scaling.type", "none")).contains("rope_scaling"));
  const Json yarn = config_of(llama()
                                  .string("llama.rope.scaling.type", "yarn")
                                  .real("llama.rope.scaling.factor", 8)
                                  .number("llama.rope.scaling.original_context_length", 16));
  EXPECT_EQ(
      yarn["rope_scaling"],
      Json({{"rope_type", "yarn"}, {"factor", 8.0}, {"original_max_position_embeddings", 16}}));
  EXPECT_THAT(error_of_key(llama().number("llama.rope.dimension_count", 16)),
              HasSubstr("llama.rope.dimension_count"));
}

TEST_F(CheckpointGgufFile, UnsupportedFilesAreNamed) {
  EXPECT_THAT(error_of_key(llama("falcon")), HasSubstr("\"falcon\" is not supported"));
  EXPECT_THAT(error_of_key(llama().number("llama.expert_count", 8)),
              HasSubstr("llama.expert_count"));
  EXPECT_EQ(error_of_key(llama().number("llama.expert_count", 0)), "");
  EXPECT_THAT(error_of_key(GgufBuilder()), HasSubstr("general.architecture"));
  EXPECT_THAT(error_of_key(GgufBuilder().string("general.architecture", "llama")),
              HasSubstr("llama.embedding_length: missing"));
}

TEST_F(CheckpointGgufFile, TensorsAreChecked) {
  const auto with = [&](std::string_view name, const std::vector<uint64_t>& sizes, uint32_t type,
                        uint64_t offset) {
    GgufBuilder builder = llama();
    add_embedding(builder);
    builder.tensor(name, sizes, type, offset);
    return error_of_file(builder.file(kData + std::string(512, '\0')));
  };
  EXPECT_EQ(with("blk.0.attn_q.weight", {32, 4}, 0, 512), "");
  EXPECT_THAT(
      with("blk.0.attn_q.weight", {256, 4}, 16, 512),
      AllOf(HasSubstr("blk.0.attn_q.weight [4, 256]"), HasSubstr("IQ2_XXS"), HasSubstr("Q4_K")));
  EXPECT_THAT(with("w", {128, 1}, 12, 512), HasSubstr("blocks of 256"));
  EXPECT_THAT(with("w", {33, 1}, 8, 512), HasSubstr("blocks of 32"));
  EXPECT_THAT(with("w", {32, 5}, 0, 512), AllOf(HasSubstr("tensor w"), HasSubstr("truncated")));
  EXPECT_THAT(with("w", {32, 4}, 0, 480), HasSubstr("overlap"));
  EXPECT_THAT(with("blk.0.attn_q.weight", {32, 3}, 0, 512), HasSubstr("not made of 1 heads"));
  EXPECT_THAT(error_of_file(llama().file("")), HasSubstr("token_embd.weight: missing"));
}

// Whatever bytes of a header change, opening gives a checkpoint whose tensors lie in their file, or
// a CheckpointError.
class CheckpointDamage : public ::testing::TestWithParam<std::string> {};

TEST_P(CheckpointDamage, OfAnyByteIsFoundOrHarmless) {
  TempDir folder;
  const fs::path source = kGolden + "/" + GetParam();
  const std::string target = folder.file(source.filename());
  fs::copy_file(source.parent_path() / "config.json", folder.file("config.json"));
  const std::string intact = read_file(source);
  const std::string opened = source.extension() == ".gguf" ? target : folder.path().string();
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    std::string damaged = intact;
    for (uint32_t i = 0; i <= random() % 3; ++i)
      damaged[random() % std::min<size_t>(intact.size(), 3000)] = static_cast<char>(random());
    write_file(target, damaged);
    try {
      const Checkpoint checkpoint = Checkpoint::open(opened);
      for (const CheckpointTensor& tensor : checkpoint.tensors()) {
        const int64_t rows = tensor.shape.empty() ? 1 : tensor.shape[0];
        std::vector<float> values(static_cast<size_t>(element_count(tensor.shape).value()));
        checkpoint.read_rows(tensor, 0, rows, values.data());
      }
    } catch (const CheckpointError&) {
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, CheckpointDamage,
                         ::testing::Values("llama-gguf/model.gguf", "llama3-gguf/model.gguf",
                                           "llama2/model.safetensors"));

}  // namespace
}  // namespace zerostream
