// Checkpoints in other formats than safetensors of plain numbers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "base/dtype.h"
#include "model/checkpoint.h"
#include "model/config.h"
#include "model/storage_type.h"
#include "model/tensor_shape.h"
#include "tests/model/checkpoint_files.h"
#include "tests/support/temp_dir.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kGolden = ZS_TEST_DATA;
const std::string kFiles = kGolden + "/checkpoints/";

std::string error_of(const std::string& path) {
  try {
    Checkpoint::open(path);
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "";
}

std::vector<float> read_all(const Checkpoint& checkpoint, const CheckpointTensor& tensor) {
  std::vector<float> values(static_cast<size_t>(element_count(tensor.shape).value()));
  checkpoint.read_rows(tensor, 0, tensor.shape.empty() ? 1 : tensor.shape[0], values.data());
  return values;
}

// The same names, shapes and values.
void expect_same_tensors(const Checkpoint& left, const Checkpoint& right) {
  EXPECT_EQ(left.tensors().size(), right.tensors().size());
  for (const CheckpointTensor& tensor : left.tensors()) {
    const CheckpointTensor* other = right.find(tensor.name);
    ASSERT_NE(other, nullptr) << tensor.name;
    EXPECT_EQ(tensor.shape, other->shape) << tensor.name;
    EXPECT_EQ(read_all(left, tensor), read_all(right, *other)) << tensor.name;
  }
}

class Formats : public ::testing::Test {
 protected:
  void copy(const std::string& from, const std::string& to) {
    fs::copy_file(from, folder_.file(to), fs::copy_options::overwrite_existing);
  }
  void write_config(const Json& config) { write_file(folder_.file("config.json"), config.dump()); }
  std::string path() const { return folder_.path().string(); }
  TempDir folder_;
};

TEST_F(Formats, GgufBlocksHaveTheValuesThatGgmlGivesThem) {
  const Checkpoint blocks = Checkpoint::open(kFiles + "blocks/model.gguf");
  expect_same_tensors(blocks, Checkpoint::open(kFiles + "blocks"));
  for (auto type = StorageType::kQ4_0; type <= StorageType::kIQ4XS;
       type = static_cast<StorageType>(static_cast<int>(type) + 1)) {
    const CheckpointTensor* tensor = blocks.find(std::string(storage_type_name(type)));
    ASSERT_NE(tensor, nullptr) << storage_type_name(type);
    EXPECT_EQ(tensor->type, type);
  }
}

// A llama of one head in parts: the embedding in the second, a norm in the third.
class SplitGguf : public Formats {
 protected:
  static constexpr const char* kNames[] = {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf",
                                           "m-00003-of-00003.gguf"};

  GgufBuilder part(uint16_t number, uint16_t count = 3) {
    GgufBuilder builder;
    builder.key("split.no", 2, bytes_of(number)).key("split.count", 2, bytes_of(count));
    return builder;
  }
  void write() {
    GgufBuilder first = part(0), second = part(1), third = part(2);
    first.string("general.architecture", "llama");
    for (const char* key : {"embedding_length", "feed_forward_length", "block_count",
                            "context_length", "attention.head_count"})
      first.number("llama." + std::string(key), 2);
    first.real("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    second.tensor("token_embd.weight", {2, 1}, 0, 0);
    third.tensor("output_norm.weight", {2}, 0, 0);
    write_file(folder_.file(kNames[0]), first.file(""));
    write_file(folder_.file(kNames[1]), second.file(bytes_of(1.0f) + bytes_of(2.0f)));
    write_file(folder_.file(kNames[2]), third.file(bytes_of(3.0f) + bytes_of(4.0f)));
  }
};

TEST_F(SplitGguf, AnyPartOpensTheWhole) {
  write();
  std::string fingerprint;
  for (const char* name : kNames) {
    const Checkpoint checkpoint = Checkpoint::open(folder_.file(name));
    EXPECT_EQ(checkpoint.config()["hidden_size"], 2);
    ASSERT_EQ(checkpoint.tensors().size(), 2u);
    EXPECT_EQ(read_all(checkpoint, *checkpoint.find("model.embed_tokens.weight")),
              (std::vector<float>{1, 2}));
    EXPECT_EQ(read_all(checkpoint, *checkpoint.find("model.norm.weight")),
              (std::vector<float>{3, 4}));
    if (fingerprint.empty()) fingerprint = checkpoint.fingerprint();
    EXPECT_EQ(checkpoint.fingerprint(), fingerprint);
  }
}

TEST_F(SplitGguf, PartsAreChecked) {
  write();
  write_file(folder_.file(kNames[1]), part(2).file(""));
  EXPECT_THAT(error_of(folder_.file(kNames[0])),
              AllOf(HasSubstr(kNames[1]), HasSubstr("part 2 (split.no)")));
  write_file(folder_.file(kNames[1]), part(1, 4).file(""));
  EXPECT_THAT(error_of(folder_.file(kNames[0])), HasSubstr("of 4 (split.count)"));
  EXPECT_THAT(error_of(folder_.file(kNames[1])), HasSubstr("one of 4 parts"));
  fs::remove(folder_.file(kNames[1]));
  EXPECT_THAT(error_of(folder_.file(kNames[2])), HasSubstr(std::string(kNames[1]) + " is missing"));
  fs::rename(folder_.file(kNames[0]), folder_.file("m.gguf"));
  EXPECT_THAT(error_of(folder_.file("m.gguf")), HasSubstr("-00001-of-00003.gguf"));
  write();
  GgufBuilder twice = part(2);
  twice.tensor("token_embd.weight", {2, 1}, 0, 0);
  write_file(folder_.file(kNames[2]), twice.file(std::string(8, '\0')));
  EXPECT_THAT(error_of(folder_.file(kNames[0])), HasSubstr("is there twice"));
}

class TorchFolder : public Formats {
 protected:
  void copy_config() { copy(kGolden + "/smollm/config.json", "config.json"); }
  void copy_shards() {
    copy_config();
    copy(kFiles + "torch/index.json", "pytorch_model.bin.index.json");
    for (const std::string number : {"1", "2"})
      copy(kFiles + "torch/shard-0000" + number + "-of-00002.bin",
           "pytorch_model-0000" + number + "-of-00002.bin");
  }
};

// The tied head is a name for the embedding again, and leaves no trace.
TEST_F(TorchFolder, SingleFileIsTheSameAsSafetensors) {
  copy_config();
  copy(kFiles + "torch/single.bin", "pytorch_model.bin");
  const Checkpoint checkpoint = Checkpoint::open(path());
  const Checkpoint original = Checkpoint::open(kGolden + "/smollm");
  EXPECT_EQ(checkpoint.format(), "pytorch");
  EXPECT_EQ(checkpoint.natural_dtype(), DType::kBF16);
  EXPECT_EQ(checkpoint.config(), original.config());
  expect_same_tensors(checkpoint, original);
}

// Here the head has bytes of its own.
TEST_F(TorchFolder, ShardsAreTheSameAsSafetensors) {
  copy_shards();
  const Checkpoint checkpoint = Checkpoint::open(path());
  const Checkpoint original = Checkpoint::open(kGolden + "/smollm");
  EXPECT_EQ(checkpoint.tensors().size(), original.tensors().size() + 1);
  EXPECT_EQ(checkpoint.config()["tie_word_embeddings"], false);
  EXPECT_EQ(read_all(checkpoint, *checkpoint.find("lm_head.weight")),
            read_all(original, *original.find("model.embed_tokens.weight")));
  expect_same_tensors(original, [&] {
    fs::copy(kGolden + "/smollm/model.safetensors", folder_.file("model.safetensors"));
    return Checkpoint::open(path());  // safetensors come first
  }());
}

TEST_F(TorchFolder, IndexStaysInItsFolder) {
  copy_shards();
  const std::string index = folder_.file("pytorch_model.bin.index.json");
  const Json intact = read_json_file(index);
  for (const std::string name : {"../x.bin", "/etc/passwd", "..", "sub/x.bin"}) {
    Json changed = intact;
    changed["weight_map"]["model.norm.weight"] = name;
    write_file(index, changed.dump());
    EXPECT_THAT(error_of(path()), HasSubstr("is not the name of a file in the same folder"));
  }
  write_file(index, intact.dump());
  fs::remove(folder_.file("pytorch_model-00002-of-00002.bin"));
  EXPECT_THAT(error_of(path()), HasSubstr("pytorch_model-00002-of-00002.bin is missing"));
}

TEST_F(TorchFolder, ViewsAndParameters) {
  write_config(Json::object());
  copy(kFiles + "torch/views.bin", "pytorch_model.bin");
  const Checkpoint views = Checkpoint::open(path());
  EXPECT_TRUE(views.find("transposed")->transposed);
  EXPECT_FALSE(views.find("column")->transposed);
  TempDir plain;
  fs::copy_file(folder_.file("config.json"), plain.file("config.json"));
  fs::copy_file(kFiles + "torch/plain.safetensors", plain.file("model.safetensors"));
  expect_same_tensors(views, Checkpoint::open(plain.path().string()));
  std::vector<float> row(6);
  views.read_rows(*views.find("transposed"), 2, 1, row.data());
  EXPECT_EQ(row, (std::vector<float>{2, 6, 10, 14, 18, 22}));
}

TEST_F(TorchFolder, OtherFilesAreRefused) {
  copy_config();
  copy(kFiles + "torch/double.bin", "pytorch_model.bin");
  EXPECT_THAT(error_of(path()), HasSubstr("dtype F64 is not supported"));
  copy(kFiles + "torch/command.bin", "pytorch_model.bin");
  EXPECT_THAT(error_of(path()), HasSubstr("posix.system"));
}

TEST_F(Formats, TiedHeadAloneIsTheEmbedding) {
  const Json config = read_json_file(kGolden + "/smollm/config.json");
  write_config(config);
  const Json header = {{"lm_head.weight", safetensors_entry("F32", {2, 1}, 0, 8)}};
  write_file(folder_.file("model.safetensors"),
             safetensors_file(header, bytes_of(1.0f) + bytes_of(2.0f)));
  const Checkpoint tied = Checkpoint::open(path());
  EXPECT_EQ(tied.config()["tie_word_embeddings"], true);
  EXPECT_EQ(tied.find("lm_head.weight"), nullptr);
  EXPECT_EQ(read_all(tied, *tied.find("model.embed_tokens.weight")), (std::vector<float>{1, 2}));
  Json untied = config;
  untied["tie_word_embeddings"] = false;
  write_config(untied);
  EXPECT_NE(Checkpoint::open(path()).find("lm_head.weight"), nullptr);
}

class Fp8 : public Formats {
 protected:
  static constexpr const char* kWeights = "model.safetensors";
  void open_with(const std::string& file, const Json& quantization) {
    copy(kFiles + "fp8/" + file, kWeights);
    write_config({{"quantization_config", quantization}});
  }
  void expect_plain_values() {
    const Checkpoint checkpoint = Checkpoint::open(path());
    EXPECT_FALSE(checkpoint.config().contains("quantization_config"));
    EXPECT_EQ(checkpoint.natural_dtype(), DType::kBF16);
    TempDir plain;
    write_file(plain.file("config.json"), "{}");
    fs::copy_file(kFiles + "fp8/plain.safetensors", plain.file(kWeights));
    const Checkpoint expected = Checkpoint::open(plain.path().string());
    for (const CheckpointTensor& tensor : checkpoint.tensors())
      EXPECT_EQ(read_all(checkpoint, tensor), read_all(expected, *expected.find(tensor.name)))
          << tensor.name;
  }
  const Json kBlocks = {{"quant_method", "fp8"}, {"weight_block_size", {16, 32}}};
};

TEST_F(Fp8, ScalesOfBlocks) {
  open_with("block.safetensors", kBlocks);
  EXPECT_EQ(Checkpoint::open(path()).tensors().size(), 2u);
  expect_plain_values();
  const Checkpoint checkpoint = Checkpoint::open(path());
  const CheckpointTensor& tensor = *checkpoint.find("block.weight");
  const std::vector<float> all = read_all(checkpoint, tensor);
  std::vector<float> part(5 * 70);
  checkpoint.read_rows(tensor, 14, 5, part.data());
  EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin() + 14 * 70));
}

TEST_F(Fp8, ScalesOfTensorsAndRows) {
  for (const Json& quantization :
       {Json({{"quant_method", "fp8"}, {"activation_scheme", "static"}}),
        Json({{"quant_method", "compressed-tensors"}, {"format", "float-quantized"}})}) {
    open_with("tensor.safetensors", quantization);
    EXPECT_EQ(Checkpoint::open(path()).tensors().size(), 3u);
    expect_plain_values();
  }
}

TEST_F(Fp8, ScalesAreChecked) {
  open_with("block.safetensors", {{"quant_method", "fp8"}, {"weight_block_size", {16, 16}}});
  EXPECT_THAT(error_of(path()),
              AllOf(HasSubstr("block.weight [40, 70]"),
                    HasSubstr("block.weight_scale_inv [3, 3] of F32 do not fit")));
  open_with("block.safetensors", {{"quant_method", "fp8"}});
  EXPECT_THAT(error_of(path()), HasSubstr("do not fit"));
  open_with("block.safetensors", {{"quant_method", "fp8"}, {"weight_block_size", {0, 16}}});
  EXPECT_THAT(error_of(path()), HasSubstr("weight_block_size is [0,16]"));
  write_config({{"quantization_config", kBlocks}});
  const Json header = {{"a.weight", safetensors_entry("F8_E4M3", {2, 2}, 0, 4)},
                       {"b.weight", safetensors_entry("F8_E4M3", {4}, 4, 8)}};
  write_file(folder_.file(kWeights), safetensors_file(header, "12345678"));
  EXPECT_THAT(error_of(path()), AllOf(HasSubstr("a.weight [2, 2]: its scales are missing"),
                                      HasSubstr("b.weight [4]: fp8, but no matrix")));
}

TEST_F(Fp8, OtherMethodsStayInTheConfig) {
  open_with("tensor.safetensors", {{"quant_method", "modelopt"}});
  EXPECT_TRUE(Checkpoint::open(path()).config().contains("quantization_config"));
  write_config(Json::object());
  const Checkpoint plain = Checkpoint::open(path());
  EXPECT_NE(plain.find("all.weight_scale"), nullptr);
  EXPECT_EQ(read_all(plain, *plain.find("all.weight"))[56], 1.0f);
}

}  // namespace
}  // namespace zerostream
