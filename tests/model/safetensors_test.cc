#include "model/safetensors.h"

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

class Safetensors : public ::testing::Test {
 protected:
  std::vector<FileTensor> read(const std::string& content) {
    write_file(folder_.file("model.safetensors"), content);
    return read_safetensors_header(InputFile(folder_.file("model.safetensors")));
  }
  std::string error_of(const std::string& content) {
    try {
      read(content);
    } catch (const CheckpointError& error) {
      EXPECT_THAT(error.what(), HasSubstr("model.safetensors"));
      return error.what();
    }
    return "";
  }
  TempDir folder_;
};

TEST_F(Safetensors, ListsTensorsInTheOrderOfTheirBytes) {
  const Json header = {{"a", safetensors_entry("F32", {2, 2}, 6, 22)},
                       {"b", safetensors_entry("BF16", {3}, 0, 6)},
                       {"empty", safetensors_entry("F16", {0, 5}, 6, 6)},
                       {"scalar", safetensors_entry("I64", {}, 22, 30)},
                       {"__metadata__", {{"format", "pt"}}}};
  const auto tensors = read(safetensors_file(header, std::string(30, 'x')));
  ASSERT_EQ(tensors.size(), 4u);
  const auto data = static_cast<int64_t>(8 + header.dump().size());
  EXPECT_EQ(tensors[0].name, "b");
  EXPECT_EQ(tensors[0].dtype, "BF16");
  EXPECT_EQ(tensors[0].offset, data);
  EXPECT_EQ(tensors[1].name, "empty");
  EXPECT_EQ(tensors[2].name, "a");
  EXPECT_THAT(tensors[2].shape, ElementsAre(2, 2));
  EXPECT_EQ(tensors[2].offset, data + 6);
  EXPECT_EQ(tensors[2].bytes, 16);
}

TEST_F(Safetensors, HeaderLengthIsCheckedBeforeItIsRead) {
  EXPECT_THAT(error_of(""), HasSubstr("too short"));
  EXPECT_THAT(error_of("abc"), HasSubstr("too short"));
  EXPECT_THAT(error_of(bytes_of<uint64_t>(UINT64_MAX) + "{}"), HasSubstr("not a safetensors file"));
  EXPECT_THAT(error_of(bytes_of<uint64_t>(50) + "{}"), HasSubstr("48 bytes are missing"));
  EXPECT_THAT(error_of(safetensors_file(std::string("{\"a\""), "")), HasSubstr("invalid JSON"));
  EXPECT_THAT(error_of(safetensors_file(std::string("[]"), "")), HasSubstr("no JSON object"));
  EXPECT_THAT(error_of("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n"),
              HasSubstr("Git LFS pointer"));
}

TEST_F(Safetensors, EntriesAreCheckedAgainstThemselves) {
  const auto error_of_entry = [&](const Json& entry) {
    return error_of(safetensors_file(Json{{"w", entry}}, std::string(8, 'x')));
  };
  EXPECT_EQ(error_of_entry(safetensors_entry("F32", {2}, 0, 8)), "");
  for (const Json& entry :
       {safetensors_entry("F32", {3}, 0, 8), safetensors_entry("F16", {2}, 0, 8),
        safetensors_entry("F32", {int64_t{1} << 62, 4}, 0, 8), safetensors_entry("F32", {-2}, 0, 8),
        safetensors_entry("F32", {2}, 8, 0), safetensors_entry("F99", {2}, 0, 8),
        Json{{"dtype", "F32"}, {"shape", {2}}},
        Json{{"dtype", 3}, {"shape", {2}}, {"data_offsets", {0, 8}}},
        Json{{"dtype", "F32"}, {"shape", "2"}, {"data_offsets", {0, 8}}}, Json(5)})
    EXPECT_THAT(error_of_entry(entry), HasSubstr("tensor w")) << entry.dump();
  EXPECT_THAT(error_of_entry(safetensors_entry("F32", {3}, 0, 8)),
              AllOf(HasSubstr("[3]"), HasSubstr("F32"), HasSubstr("8 bytes")));
}

TEST_F(Safetensors, EntriesAreCheckedAgainstEachOtherAndTheFile) {
  const auto two = [](int64_t second) {
    return Json{{"a", safetensors_entry("F32", {2}, 0, 8)},
                {"b", safetensors_entry("F32", {2}, second, second + 8)}};
  };
  EXPECT_THAT(error_of(safetensors_file(two(4), std::string(12, 'x'))),
              AllOf(HasSubstr("tensor b"), HasSubstr("overlap")));
  EXPECT_THAT(error_of(safetensors_file(two(12), std::string(20, 'x'))), HasSubstr("gap"));
  EXPECT_THAT(error_of(safetensors_file(two(8), std::string(11, 'x'))),
              AllOf(HasSubstr("truncated"), HasSubstr("tensor b"), HasSubstr("5 are missing")));
  EXPECT_THAT(error_of(safetensors_file(two(8), std::string(17, 'x'))),
              HasSubstr("1 bytes follow"));
  const std::string twice = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                            R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  EXPECT_THAT(error_of(safetensors_file(twice, "xxxx")), HasSubstr("\"a\" appears twice"));
}

}  // namespace
}  // namespace zerostream
