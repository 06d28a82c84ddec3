#include "model/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using ::testing::HasSubstr;

std::string error_of(std::string_view text, JsonLimits limits = {}) {
  try {
    parse_json(text, "file.json", limits);
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "";
}

TEST(Json, BuildsTheSameValueAsTheLibrary) {
  const std::string text =
      R"({"a": [1, -2, 3.5, "x\u00e9\ud83d\ude00", null, true, {"b": {}, "c": [[], [0]]}], "z": 1e3, )"
      R"("big": 18446744073709551615})";
  EXPECT_EQ(parse_json(text, "file.json"), Json::parse(text));
  EXPECT_EQ(parse_json("7", "file.json"), Json(7));
  EXPECT_EQ(parse_json("\xef\xbb\xbf{\"a\": 1}", "file.json"), Json({{"a", 1}}));
}

TEST(Json, SyntaxErrorsNameSourceAndByte) {
  EXPECT_THAT(error_of("{\"a\": }"), HasSubstr("file.json: invalid JSON at byte 7"));
  EXPECT_THAT(error_of(""), HasSubstr("invalid JSON"));
  EXPECT_THAT(error_of("{} x"), HasSubstr("at byte 4"));
  EXPECT_THAT(error_of("[1, 2"), HasSubstr("invalid JSON"));
  EXPECT_THAT(error_of("[NaN]"), HasSubstr("invalid JSON"));
  EXPECT_THAT(error_of("[1e999]"), HasSubstr("invalid JSON"));
  EXPECT_THAT(error_of("[\"\xff\"]"), HasSubstr("UTF-8"));
  EXPECT_THAT(error_of("[\"\\ud800\"]"), HasSubstr("invalid JSON"));
  EXPECT_THAT(error_of(std::string_view("[1]\0", 4)), HasSubstr("invalid JSON"));
}

TEST(Json, DuplicateKeysAreRefusedPerObject) {
  EXPECT_THAT(error_of(R"({"a": {"k": 1, "l": 2, "k": 3}})"), HasSubstr("key \"k\" appears twice"));
  EXPECT_EQ(error_of(R"([{"k": 1}, {"k": 1}, {"l": {"k": 1}, "k": 2}])"), "");
}

TEST(Json, DepthIsLimited) {
  EXPECT_EQ(error_of("[[[]]]", {.max_depth = 3}), "");
  EXPECT_THAT(error_of("[[[{}]]]", {.max_depth = 3}), HasSubstr("deeper than 3"));
  EXPECT_THAT(error_of(std::string(1000000, '[')), HasSubstr("deeper than 64"));
}

TEST(Json, Files) {
  TempDir folder;
  write_file(folder.file("good.json"), "{\"a\": 1}");
  write_file(folder.file("lfs.json"),
             "version https://git-lfs.github.com/spec/v1\noid sha256:00\n");
  EXPECT_EQ(read_json_file(folder.file("good.json")), Json({{"a", 1}}));
  EXPECT_THROW(read_json_file(folder.file("absent.json")), CheckpointError);
  EXPECT_THROW(read_json_file(folder.path().string()), CheckpointError);
  try {
    read_json_file(folder.file("lfs.json"));
    FAIL();
  } catch (const CheckpointError& error) {
    EXPECT_THAT(error.what(), HasSubstr("Git LFS"));
  }
}

}  // namespace
}  // namespace zerostream
