// Damaged sentencepiece files: an error that names the file, never a crash.
#include "model/spm_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "model/precompiled_map.h"
#include "model/tokenizer.h"
#include "model/tokenizer_parts.h"
#include "tests/support/temp_dir.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using testing::HasSubstr;

std::string model_bytes() {
  return read_file(std::string(ZS_TEST_DATA) + "/tokenizers/folders/t5/spiece.model");
}

void load(const std::string& bytes) {
  const SpmModel model = read_spm_model(bytes, "file");
  const auto tokenizer = make_tokenizer(spm_tokenizer_json(model, {}, "file"), Json(), "file");
  tokenizer->decode(tokenizer->encode("A fi \u00BD x", false), true);
}

TEST(SpmModel, ReadsWhatTheFileSays) {
  const SpmModel model = read_spm_model(model_bytes(), "file");
  EXPECT_EQ(model.kind, SpmModel::Kind::kUnigram);
  EXPECT_EQ(model.unknown_id, 2);
  EXPECT_EQ(model.bos_id, -1);
  EXPECT_EQ(model.pieces[1].text, "</s>");
  EXPECT_EQ(model.pieces[1].type, SpmPieceType::kControl);
  EXPECT_FALSE(model.charsmap.empty());
}

TEST(SpmModel, NamesTheFile) {
  for (const std::string bytes :
       {"", "\x0A\x7F", "\x0B", "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"}) {
    try {
      read_spm_model(bytes, "some.model");
      ADD_FAILURE() << "was read";
    } catch (const CheckpointError& error) {
      EXPECT_THAT(error.what(), HasSubstr("some.model"));
    }
  }
}

TEST(SpmModel, NoCutAndNoChangedByteCrashes) {
  const std::string bytes = model_bytes();
  int refused = 0;
  const auto attempt = [&](const std::string& damaged) {
    try {
      load(damaged);
    } catch (const Error&) {
      ++refused;
    }
  };
  for (size_t i = 0; i < bytes.size(); i += 13) attempt(bytes.substr(0, i));
  for (size_t i = 0; i < bytes.size(); i += 7) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(~damaged[i]);
    attempt(damaged);
  }
  EXPECT_GT(refused, 50);
}

TEST(PrecompiledMap, Base64ThereAndBack) {
  for (const std::string text : {"", "a", "ab", "abc", "\xFF\x01\x80z"}) {
    EXPECT_EQ(decode_base64(encode_base64(text), "here"), text);
  }
  EXPECT_THROW(decode_base64("a*b", "here"), CheckpointError);
}

TEST(PrecompiledMap, RefusesArraysThatDoNotFit) {
  EXPECT_THROW(PrecompiledMap("ab", "here"), CheckpointError);
  EXPECT_THROW(PrecompiledMap(std::string("\x08\0\0\0abcd", 8), "here"), CheckpointError);
  EXPECT_THROW(PrecompiledMap(std::string("\0\0\0\0", 4), "here"), CheckpointError);
}

}  // namespace
}  // namespace zerostream
