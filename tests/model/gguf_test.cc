#include "model/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/model/checkpoint_files.h"
#include "tests/support/temp_dir.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint32_t kArray = 9;
constexpr uint32_t kString = 8;
constexpr uint32_t kU64 = 10;

class Gguf : public ::testing::Test {
 protected:
  GgufHeader read(const std::string& content) {
    write_file(folder_.file("model.gguf"), content);
    return read_gguf_header(folder_.file("model.gguf"));
  }
  std::string error_of(const std::string& content) {
    try {
      read(content);
    } catch (const CheckpointError& error) {
      EXPECT_THAT(error.what(), HasSubstr("model.gguf"));
      return error.what();
    }
    return "";
  }
  TempDir folder_;
};

TEST_F(Gguf, MetadataOfEveryKind) {
  GgufBuilder builder;
  builder.key("u8", 0, bytes_of<uint8_t>(200))
      .key("i8", 1, bytes_of<int8_t>(-5))
      .key("u16", 2, bytes_of<uint16_t>(60000))
      .key("i16", 3, bytes_of<int16_t>(-300))
      .number("u32", 4000000000u)
      .key("i32", 5, bytes_of<int32_t>(-7))
      .real("f32", 0.5f)
      .key("yes", 7, bytes_of<uint8_t>(1))
      .string("text", "caf\xc3\xa9")
      .key("u64", kU64, bytes_of<uint64_t>(1ull << 63))
      .key("i64", 11, bytes_of<int64_t>(-1))
      .key("f64", 12, bytes_of<double>(0.1))
      .key("texts", kArray,
           bytes_of(kString) + bytes_of<uint64_t>(2) + GgufBuilder::text("a") +
               GgufBuilder::text(""))
      .key("nested", kArray,
           bytes_of(kArray) + bytes_of<uint64_t>(1) + bytes_of<uint32_t>(5) +
               bytes_of<uint64_t>(2) + bytes_of<int32_t>(1) + bytes_of<int32_t>(-2));
  const Json expected = {{"u8", 200},
                         {"i8", -5},
                         {"u16", 60000},
                         {"i16", -300},
                         {"u32", 4000000000u},
                         {"i32", -7},
                         {"f32", 0.5},
                         {"yes", true},
                         {"text", "caf\xc3\xa9"},
                         {"u64", 1ull << 63},
                         {"i64", -1},
                         {"f64", 0.1},
                         {"texts", {"a", ""}},
                         {"nested", Json::array({{1, -2}})}};
  EXPECT_EQ(read(builder.file("")).metadata, expected);
}

TEST_F(Gguf, TensorsAreTurnedAndPlacedAfterTheAlignedHeader) {
  GgufBuilder builder;
  builder.number("general.alignment", 64)
      .tensor("matrix", {3, 2}, 0, 0)
      .tensor("vector", {5}, 1, 64);
  const std::string file = builder.file(std::string(100, 'x'), 64);
  const GgufHeader header = read(file);
  EXPECT_EQ(header.version, 3u);
  ASSERT_EQ(header.tensors.size(), 2u);
  EXPECT_EQ(header.tensors[0].name, "matrix");
  EXPECT_THAT(header.tensors[0].shape, ElementsAre(2, 3));
  EXPECT_EQ(header.tensors[0].offset, std::ssize(file) - 100);
  EXPECT_EQ(header.tensors[1].type, 1u);
  EXPECT_EQ(header.tensors[1].offset, std::ssize(file) - 36);
}

TEST_F(Gguf, LongHeadersAreReadThroughTheWindow) {
  GgufBuilder builder;
  std::string array = bytes_of(kString) + bytes_of<uint64_t>(60000);
  for (int i = 0; i < 60000; ++i) array += GgufBuilder::text("token" + std::to_string(i));
  builder.key("tokens", kArray, array).string("after", "end");
  const Json metadata = read(builder.file("")).metadata;
  EXPECT_EQ(metadata["tokens"].size(), 60000u);
  EXPECT_EQ(metadata["tokens"][59999], "token59999");
  EXPECT_EQ(metadata["after"], "end");
}

// However the file is cut, the error is ours, and nothing is read or allocated beyond it.
TEST_F(Gguf, EveryTruncationIsAnError) {
  GgufBuilder builder;
  builder.string("name", "value")
      .key("array", kArray, bytes_of<uint32_t>(4) + bytes_of<uint64_t>(2) + bytes_of<uint64_t>(0))
      .tensor("tensor", {4, 2}, 0, 0);
  const std::string header = builder.header();
  for (size_t size = 0; size < header.size(); ++size)
    EXPECT_NE(error_of(header.substr(0, size)), "") << size;
  EXPECT_EQ(error_of(header), "");
}

TEST_F(Gguf, CountsAreCheckedAgainstTheFile) {
  const auto begin = [](uint64_t tensors, uint64_t keys) {
    return "GGUF" + bytes_of<uint32_t>(3) + bytes_of(tensors) + bytes_of(keys);
  };
  EXPECT_THAT(error_of(begin(1ull << 60, 0)), HasSubstr("number of tensors"));
  EXPECT_THAT(error_of(begin(0, UINT64_MAX)), HasSubstr("number of metadata keys"));
  EXPECT_THAT(error_of(begin(0, 1) + bytes_of<uint64_t>(1ull << 40) + std::string(40, 'x')),
              HasSubstr("metadata key 0"));
  GgufBuilder text, array, type;
  text.key("long", kString, bytes_of<uint64_t>(1ull << 62));
  EXPECT_THAT(error_of(text.header()), HasSubstr("key long"));
  array.key("list", kArray, bytes_of<uint32_t>(12) + bytes_of<uint64_t>(1ull << 58));
  EXPECT_THAT(error_of(array.header()), HasSubstr("key list"));
  type.key("odd", 13, std::string(8, 'x'));
  EXPECT_THAT(error_of(type.header()), AllOf(HasSubstr("key odd"), HasSubstr("type 13")));
}

TEST_F(Gguf, DamagedHeadersAreNamed) {
  EXPECT_THAT(error_of("GGML" + std::string(40, '\0')), HasSubstr("not a GGUF file"));
  EXPECT_EQ(error_of(GgufBuilder().header(2)), "");
  EXPECT_THAT(error_of(GgufBuilder().header(1)), HasSubstr("version 1"));
  EXPECT_THAT(error_of("version https://git-lfs.github.com/spec/v1"), HasSubstr("Git LFS pointer"));
  EXPECT_THAT(error_of(GgufBuilder().header(0x03000000)), HasSubstr("not supported"));
  EXPECT_THAT(error_of(GgufBuilder().number("k", 1).number("k", 1).header()),
              HasSubstr("k appears twice"));
  EXPECT_THAT(error_of(GgufBuilder().string("k", "caf\xe9").header()),
              AllOf(HasSubstr("key k"), HasSubstr("UTF-8")));
  GgufBuilder twice, dimensions, huge, offset, alignment, deep;
  twice.tensor("t", {1}, 0, 0).tensor("t", {1}, 0, 32);
  EXPECT_THAT(error_of(twice.header()), HasSubstr("tensor t appears twice"));
  dimensions.tensor("t", {1, 1, 1, 1, 1}, 0, 0);
  EXPECT_THAT(error_of(dimensions.header()), HasSubstr("5 dimensions"));
  huge.tensor("t", {1ull << 40, 1ull << 40}, 0, 0);
  EXPECT_THAT(error_of(huge.header()), HasSubstr("tensor t"));
  offset.tensor("t", {1}, 0, 8);
  EXPECT_THAT(error_of(offset.header()), HasSubstr("multiple of 32"));
  alignment.number("general.alignment", 0);
  EXPECT_THAT(error_of(alignment.header()), HasSubstr("general.alignment"));
  std::string nested;
  for (int i = 0; i < 1000; ++i) nested += bytes_of(kArray) + bytes_of<uint64_t>(1);
  deep.key("deep", kArray, nested);
  EXPECT_THAT(error_of(deep.header() + std::string(64, '\0')), HasSubstr("nested too deep"));
}

}  // namespace
}  // namespace zerostream
