#include "offload/packed_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "offload/pack.h"
#include "offload/store_files.h"
#include "tests/offload/random_checkpoint.h"
#include "tests/support/temp_dir.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class PackedStoreTest : public testing::Test {
 protected:
  PackedStoreTest() {
    make_random_checkpoint(odd_llama_config()).write(dir_.file("model"));
    pack_store(Checkpoint::open(dir_.file("model")), store_, {});
  }

  std::string open_error() const {
    try {
      PackedStore::open(store_);
    } catch (const CheckpointError& error) {
      return error.what();
    }
    return "opened";
  }
  // Changes the manifest and commits the change, as a packer with a bug or ill will would.
  void change_manifest(const std::function<void(Json&)>& change) const {
    Json manifest = Json::parse(original_);
    change(manifest);
    const std::string text = manifest.dump();
    write_file(store_ + "/manifest.json", text);
    write_file(store_ + "/COMPLETE", commit_text(text));
  }

  const TempDir dir_;
  const std::string store_ = dir_.file("store");
  std::string original_;

  void SetUp() override { original_ = read_file(store_ + "/manifest.json"); }
};

TEST_F(PackedStoreTest, VerifyNamesTheSegmentOfAFlippedByte) {
  const PackedStore store = PackedStore::open(store_);
  std::string bytes = read_file(store.weights_path());
  for (const Segment& segment : store.segments()) {
    for (const int64_t at : {segment.offset, segment.offset + segment.bytes - 1}) {
      std::string flipped = bytes;
      flipped[static_cast<size_t>(at)] ^= 1;
      write_file(store.weights_path(), flipped);
      try {
        store.verify();
        FAIL() << segment.name;
      } catch (const CheckpointError& error) {
        EXPECT_THAT(error.what(),
                    AllOf(HasSubstr("\"" + segment.name + "\""), HasSubstr(store.weights_path())));
      }
      EXPECT_THROW(
          check_digest(segment, reinterpret_cast<const std::byte*>(flipped.data()) + segment.offset,
                       "file"),
          CheckpointError);
    }
  }
  bytes[static_cast<size_t>(store.vectors_segment().offset)] ^= 1;
  write_file(store.weights_path(), bytes);
  EXPECT_THROW(store.verify(), CheckpointError);
}

TEST_F(PackedStoreTest, VerifyFindsAChangedTextFile) {
  const PackedStore store = PackedStore::open(store_);
  store.verify();
  write_file(store_ + "/config.json", read_file(store_ + "/config.json") + " ");
  try {
    store.verify();
    FAIL();
  } catch (const CheckpointError& error) {
    EXPECT_THAT(error.what(), HasSubstr("config.json"));
  }
}

TEST_F(PackedStoreTest, MissingAndTruncatedFilesAreFoundWhenOpened) {
  std::filesystem::resize_file(store_ + "/weights.bin", 8192);
  EXPECT_THAT(open_error(), AllOf(HasSubstr("weights.bin has 8192 bytes"), HasSubstr("says")));
  std::filesystem::remove(store_ + "/COMPLETE");
  EXPECT_THAT(open_error(), HasSubstr("not complete"));
  EXPECT_TRUE(PackedStore::is_store(store_));
  std::filesystem::remove(store_ + "/manifest.json");
  EXPECT_THAT(open_error(), HasSubstr("no packed store"));
  EXPECT_FALSE(PackedStore::is_store(store_));
  EXPECT_FALSE(PackedStore::is_store(dir_.file("nowhere")));
}

TEST_F(PackedStoreTest, AChangedManifestIsDamage) {
  write_file(store_ + "/manifest.json", original_ + " ");
  EXPECT_THAT(open_error(), AllOf(HasSubstr("manifest.json"), HasSubstr("damaged")));
  write_file(store_ + "/manifest.json", original_);
  EXPECT_EQ(open_error(), "opened");
  write_file(store_ + "/COMPLETE", "");
  EXPECT_THAT(open_error(), HasSubstr("damaged"));
}

TEST_F(PackedStoreTest, AnotherVersionIsRefusedByNumber) {
  change_manifest([](Json& json) { json["version"] = 3; });
  EXPECT_THAT(open_error(),
              AllOf(HasSubstr("\"version\" is 3"), HasSubstr("reads versions 1 to 2")));
}

TEST_F(PackedStoreTest, NothingInTheManifestIsTakenOnTrust) {
  struct Case {
    const char* what;
    std::function<void(Json&)> change;
    const char* message;
  };
  const auto last = [](Json& json) -> Json& { return json["segments"].back(); };
  const std::vector<Case> cases = {
      {"format", [](Json& j) { j["format"] = "else"; }, "format"},
      {"no version", [](Json& j) { j.erase("version"); }, "\"version\" is missing"},
      {"dtype", [](Json& j) { j["dtype"] = "int3"; }, "int3"},
      {"layout", [](Json& j) { j["layout"] = 7; }, "\"layout\" is no string"},
      {"segments", [](Json& j) { j["segments"] = Json::object(); }, "is no array"},
      {"segment", [](Json& j) { j["segments"][1] = 3; }, "segments[1]"},
      {"digest", [&](Json& j) { last(j)["digest"] = "xyz"; }, "digest"},
      {"negative", [&](Json& j) { last(j)["offset"] = -4096; }, "whole number"},
      {"fraction", [&](Json& j) { last(j)["bytes"] = 4096.5; }, "whole number"},
      {"huge", [&](Json& j) { last(j)["bytes"] = 1ull << 63; }, "whole number"},
      {"unaligned", [&](Json& j) { last(j)["offset"] = 4097; }, "aligned"},
      {"overlap", [&](Json& j) { last(j)["offset"] = 4096; }, "overlaps"},
      {"past the end", [&](Json& j) { last(j)["bytes"] = int64_t{1} << 27; }, "past the end"},
      {"too large", [&](Json& j) { last(j)["bytes"] = int64_t{1} << 40; }, "too large"},
      {"too small", [&](Json& j) { last(j)["bytes"] = 4096; }, "out of place"},
      {"role", [&](Json& j) { last(j)["matrices"][0]["role"] = "x"; }, "unknown value"},
      {"outputs", [&](Json& j) { last(j)["matrices"][0]["outputs"] = 1; }, "panel"},
      {"more outputs", [&](Json& j) { last(j)["matrices"][0]["outputs"] = 300; }, "another"},
      {"inputs", [&](Json& j) { last(j)["matrices"][0]["inputs"] = 1; }, "another"},
      {"matrix dtype", [&](Json& j) { last(j)["matrices"][0]["dtype"] = "bf16"; }, "dtype"},
      {"matrix layout", [&](Json& j) { last(j)["matrices"][0]["layout"] = "rows"; }, "layout"},
      {"a segment less", [](Json& j) { j["segments"].erase(j["segments"].size() - 1); }, "head"},
      {"a segment twice", [&](Json& j) { j["segments"].push_back(last(j)); }, "overlaps"},
      {"vector", [](Json& j) { j["vectors_segment"]["vectors"][0]["size"] = 5; }, "vector 0"},
      {"vector place", [](Json& j) { j["vectors_segment"]["vectors"][1]["offset"] = 1 << 20; },
       "out of place"},
      {"vectors less", [](Json& j) { j["vectors_segment"]["vectors"].erase(0); }, "vectors"},
      {"weights bytes", [](Json& j) { j["weights_bytes"] = 4096; }, "past the end"},
  };
  for (const Case& test : cases) {
    change_manifest(test.change);
    EXPECT_THAT(open_error(), HasSubstr(test.message)) << test.what;
  }
  change_manifest([](Json&) {});
  EXPECT_EQ(open_error(), "opened");
}

TEST_F(PackedStoreTest, StoresOfTheFirstVersionAreRead) {
  change_manifest([](Json& json) {
    json["version"] = 1;
    json.erase("compute_dtype");
  });
  const PackedStore store = PackedStore::open(store_);
  EXPECT_EQ(store.layout().dtype, DType::kF32);
  EXPECT_EQ(store.layout().compute_dtype, DType::kF32);
  EXPECT_FALSE(store.format().quantised());
}

TEST_F(PackedStoreTest, NothingOfQuantisedWeightsIsTakenOnTrust) {
  pack_store(Checkpoint::open(dir_.file("model")), store_,
             {.dtype = DType::kI8, .group_size = 32, .overwrite = true});
  original_ = read_file(store_ + "/manifest.json");
  struct Case {
    const char* what;
    std::function<void(Json&)> change;
    const char* message;
  };
  const auto first = [](Json& json) -> Json& { return json["segments"][1]["matrices"][0]; };
  const auto head = [](Json& json) -> Json& { return json["segments"].back()["matrices"][0]; };
  const std::vector<Case> cases = {
      {"dtype", [](Json& j) { j["dtype"] = "int4"; }, "another dtype"},
      {"odd dtype", [](Json& j) { j["dtype"] = "uint8"; }, "not possible"},
      {"no compute dtype", [](Json& j) { j.erase("compute_dtype"); },
       "\"compute_dtype\" is missing"},
      {"compute dtype", [](Json& j) { j["compute_dtype"] = "int8"; }, "\"compute_dtype\" is not"},
      {"other compute dtype", [](Json& j) { j["compute_dtype"] = "fp32"; }, "another dtype"},
      {"no group size", [](Json& j) { j.erase("group_size"); }, "\"group_size\" is missing"},
      {"group size", [](Json& j) { j["group_size"] = 0; }, "32, 64 or 128"},
      {"other group size", [](Json& j) { j["group_size"] = 64; }, "quantised otherwise"},
      {"zeros", [](Json& j) { j["has_zeros"] = true; }, "quantised otherwise"},
      {"zeros of no kind", [](Json& j) { j["has_zeros"] = 1; }, "neither true nor false"},
      {"rows", [](Json& j) { j["layout"] = "rows"; }, "\"layout\" is not"},
      {"head", [](Json& j) { j["quantised_head"] = true; }, "another dtype"},
      {"no head", [](Json& j) { j.erase("quantised_head"); }, "\"quantised_head\" is missing"},
      {"matrix dtype", [&](Json& j) { first(j)["dtype"] = "bf16"; }, "another dtype"},
      {"matrix layout", [&](Json& j) { first(j)["layout"] = "rows"; }, "another layout"},
      {"matrix group", [&](Json& j) { first(j)["group_size"] = 128; }, "quantised otherwise"},
      {"matrix odd group", [&](Json& j) { first(j)["group_size"] = 16; }, "32, 64 or 128"},
      {"matrix no group", [&](Json& j) { first(j).erase("group_size"); }, "is missing"},
      {"matrix zeros", [&](Json& j) { first(j)["has_zeros"] = true; }, "quantised otherwise"},
      {"head dtype", [&](Json& j) { head(j)["dtype"] = "fp16"; }, "another dtype"},
  };
  for (const Case& test : cases) {
    change_manifest(test.change);
    EXPECT_THAT(open_error(), HasSubstr(test.message)) << test.what;
  }
  change_manifest([](Json&) {});
  EXPECT_EQ(open_error(), "opened");
}

TEST_F(PackedStoreTest, AConfigOfAnotherShapeIsRefused) {
  Json config = odd_llama_config();
  config["intermediate_size"] = 128;
  write_file(store_ + "/config.json", config.dump());
  EXPECT_THAT(open_error(), HasSubstr("the config asks for"));
}

}  // namespace
}  // namespace zerostream
