// The same model in different formats becomes the same store.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "offload/pack.h"
#include "offload/packed_store.h"
#include "tests/support/temp_dir.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kGolden = ZS_TEST_DATA;

class CheckpointFormats : public ::testing::Test {
 protected:
  void copy(const std::string& from, const std::string& to) {
    fs::create_directories(fs::path(folder_.file(to)).parent_path());
    fs::copy_file(kGolden + "/" + from, folder_.file(to));
  }
  PackedStore pack(const std::string& checkpoint, const std::string& store) {
    pack_store(Checkpoint::open(checkpoint), folder_.file(store), {});
    return PackedStore::open(folder_.file(store));
  }
  // Of names, places and digests.
  static void expect_same(const PackedStore& left, const PackedStore& right) {
    EXPECT_EQ(left.vectors_segment().digest, right.vectors_segment().digest);
    ASSERT_EQ(left.segments().size(), right.segments().size());
    for (size_t i = 0; i < left.segments().size(); ++i) {
      EXPECT_EQ(left.segments()[i].name, right.segments()[i].name);
      EXPECT_EQ(left.segments()[i].digest, right.segments()[i].digest) << left.segments()[i].name;
    }
    EXPECT_EQ(read_file(left.weights_path()), read_file(right.weights_path()));
  }
  TempDir folder_;
};

TEST_F(CheckpointFormats, TorchFilesAndShardsGiveTheStoreOfSafetensors) {
  const PackedStore original = pack(kGolden + "/smollm", "original");
  copy("smollm/config.json", "single/config.json");
  copy("checkpoints/torch/single.bin", "single/pytorch_model.bin");
  expect_same(pack(folder_.file("single"), "of-single"), original);
  copy("smollm/config.json", "shards/config.json");
  copy("checkpoints/torch/index.json", "shards/pytorch_model.bin.index.json");
  for (const std::string part : {"-00001-of-00002.bin", "-00002-of-00002.bin"})
    copy("checkpoints/torch/shard" + part, "shards/pytorch_model" + part);
  expect_same(pack(folder_.file("shards"), "of-shards"), original);
}

TEST_F(CheckpointFormats, EverythingThatDoesNotFitIsListedAtOnce) {
  copy("smollm/model.safetensors", "model/model.safetensors");
  Json config = read_json_file(kGolden + "/smollm/config.json");
  config["num_hidden_layers"] = 4;
  config["intermediate_size"] = 80;
  config["mlp_bias"] = true;
  write_file(folder_.file("model/config.json"), config.dump());
  try {
    pack(folder_.file("model"), "store");
    FAIL() << "nothing was thrown";
  } catch (const CheckpointError& error) {
    EXPECT_THAT(
        error.what(),
        AllOf(
            HasSubstr("missing (30):"),
            HasSubstr("\n    model.layers.{2-3}.self_attn.q_proj.weight [36, 36]\n"),
            HasSubstr("\n    model.layers.{0-3}.mlp.up_proj.bias [80]\n"),
            HasSubstr("of another shape (6):"),
            HasSubstr("\n    model.layers.{0-1}.mlp.down_proj.weight is [36, 72], the config asks "
                      "for [36, 80]\n"),
            Not(HasSubstr("left over"))));
  }
  config["num_hidden_layers"] = 1;
  write_file(folder_.file("model/config.json"), config.dump());
  try {
    pack(folder_.file("model"), "store");
    FAIL() << "nothing was thrown";
  } catch (const CheckpointError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("left over (9):"),
                                    HasSubstr("\n    model.layers.1.input_layernorm.weight\n")));
  }
}

}  // namespace
}  // namespace zerostream
