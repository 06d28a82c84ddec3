#include "model/torch_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <random>

#include "model/pickle.h"
#include "model/zip_archive.h"
#include "tests/model/checkpoint_files.h"
#include "tests/support/temp_dir.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kTorch = std::string(ZS_TEST_DATA) + "/checkpoints/torch/";

template <typename Read>
std::string error_of(Read read) {
  try {
    read();
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "";
}

std::string error_of_file(const std::string& name) {
  return error_of([&] { read_torch_file(InputFile(kTorch + name)); });
}

constexpr std::array<std::string_view, 2> kAllowed = {"collections.OrderedDict", "torch.f"};

Pickle parse(const std::string& program) { return parse_pickle(program, kAllowed, "data.pkl"); }

std::string error_of_pickle(const std::string& program) {
  return error_of([&] { parse(program); });
}

TEST(TorchFile, TensorsOfAStateDict) {
  const auto tensors = read_torch_file(InputFile(kTorch + "single.bin"));
  const auto find = [&](std::string_view name) {
    const auto found = std::ranges::find(tensors, name, &FileTensor::name);
    return found == tensors.end() ? FileTensor() : *found;
  };
  const FileTensor embedding = find("model.embed_tokens.weight");
  EXPECT_EQ(embedding.dtype, "BF16");
  EXPECT_THAT(embedding.shape, ElementsAre(97, 36));
  EXPECT_EQ(embedding.bytes, 97 * 36 * 2);
  EXPECT_EQ(find("lm_head.weight").offset, embedding.offset);
  EXPECT_EQ(find("model.layers.1.self_attn.rotary_emb.inv_freq").dtype, "F32");
}

TEST(TorchFile, WhatIsNotADictionaryOfTensorsIsRefused) {
  EXPECT_THAT(error_of_file("command.bin"),
              AllOf(HasSubstr("command.bin"), HasSubstr("posix.system"), HasSubstr("refused")));
  EXPECT_THAT(error_of_file("number.bin"), HasSubstr("tensor step: it is not a tensor"));
  EXPECT_THAT(error_of_file("list.bin"), HasSubstr("something else than a dictionary"));
  EXPECT_THAT(error_of_file("strided.bin"), AllOf(HasSubstr("tensor w"), HasSubstr("contiguous")));
  EXPECT_THAT(error_of_file("compressed.bin"), HasSubstr("is compressed"));
  EXPECT_THAT(error_of_file("legacy.bin"),
              AllOf(HasSubstr("before version 1.6"), HasSubstr("torch.save(torch.load(")));
  EXPECT_THAT(error_of([] {
                read_torch_file(InputFile::of_bytes("version https://git-lfs", "model.bin"));
              }),
              HasSubstr("Git LFS pointer"));
}

TEST(TorchFile, EveryTruncationIsAnError) {
  const std::string intact = read_file(kTorch + "views.bin");
  for (size_t size = 0; size < intact.size(); ++size)
    EXPECT_NE(error_of([&] {
                read_torch_file(InputFile::of_bytes(intact.substr(0, size), "model.bin"));
              }),
              "")
        << size;
}

// Whatever bytes change, tensors lie in the file or the error is a CheckpointError.
TEST(TorchFile, DamageIsFoundOrHarmless) {
  const std::string intact = read_file(kTorch + "views.bin");
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    std::string damaged = intact;
    for (uint32_t i = 0; i <= random() % 3; ++i)
      damaged[random() % damaged.size()] = static_cast<char>(random());
    const InputFile file = InputFile::of_bytes(damaged, "model.bin");
    error_of([&] {
      for (const FileTensor& tensor : read_torch_file(file)) {
        ASSERT_GE(tensor.offset, 0);
        ASSERT_LE(tensor.bytes, file.size());
        ASSERT_LE(tensor.offset, file.size() - tensor.bytes);
      }
    });
  }
}

// A record of the directory of a zip file, and the end of one.
std::string zip_entry(const std::string& name, uint32_t bytes, uint32_t offset,
                      const std::string& extra = "", uint16_t flags = 0) {
  return "PK\x01\x02" + bytes_of<uint32_t>(0) + bytes_of(flags) + bytes_of<uint16_t>(0) +
         std::string(8, '\0') + bytes_of(bytes) + bytes_of(bytes) +
         bytes_of(static_cast<uint16_t>(name.size())) +
         bytes_of(static_cast<uint16_t>(extra.size())) + std::string(10, '\0') + bytes_of(offset) +
         name + extra;
}
std::string zip_end(uint32_t bytes, uint32_t offset) {
  return "PK\x05\x06" + std::string(4, '\0') + bytes_of<uint16_t>(1) + bytes_of<uint16_t>(1) +
         bytes_of(bytes) + bytes_of(offset) + bytes_of<uint16_t>(0);
}
// The header of an entry "a" and its bytes.
std::string zip_local(const std::string& data) {
  return "PK\x03\x04" + std::string(22, '\0') + bytes_of<uint16_t>(1) + bytes_of<uint16_t>(0) +
         "a" + data;
}

class Zip : public ::testing::Test {
 protected:
  static std::vector<ZipEntry> read(const std::string& bytes) {
    return read_zip_directory(InputFile::of_bytes(bytes, "file.zip"));
  }
  static std::string with(const std::string& entry) {
    const std::string local = zip_local("data");
    return local + entry +
           zip_end(static_cast<uint32_t>(entry.size()), static_cast<uint32_t>(local.size()));
  }
  static std::string error_of_entry(const std::string& entry) {
    return error_of([&] { read(with(entry)); });
  }
};

TEST_F(Zip, StoredEntries) {
  const auto entries = read(with(zip_entry("a", 4, 0)) + "");
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].name, "a");
  EXPECT_EQ(entries[0].offset, 31);
  EXPECT_EQ(entries[0].bytes, 4);
}

TEST_F(Zip, WideNumbers) {
  const std::string wide = bytes_of<uint16_t>(1) + bytes_of<uint16_t>(24) + bytes_of<uint64_t>(4) +
                           bytes_of<uint64_t>(4) + bytes_of<uint64_t>(0);
  const std::string other = bytes_of<uint16_t>(9) + bytes_of<uint16_t>(2) + "xx";
  const std::string entry = zip_entry("a", 0xffffffff, 0xffffffff, other + wide);
  const std::string local = zip_local("data");
  const std::string record = "PK\x06\x06" + bytes_of<uint64_t>(44) + std::string(12, '\0') +
                             bytes_of<uint64_t>(1) + bytes_of<uint64_t>(1) +
                             bytes_of<uint64_t>(entry.size()) + bytes_of<uint64_t>(local.size());
  const std::string locator = "PK\x06\x07" + bytes_of<uint32_t>(0) +
                              bytes_of<uint64_t>(local.size() + entry.size()) +
                              bytes_of<uint32_t>(1);
  const auto entries = read(local + entry + record + locator + zip_end(0xffffffff, 0xffffffff));
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].offset, 31);
  EXPECT_EQ(entries[0].bytes, 4);
  EXPECT_THAT(error_of_entry(zip_entry("a", 0xffffffff, 0, wide.substr(0, 12))),
              HasSubstr("entry a lacks its zip64 record"));
  EXPECT_THAT(error_of([&] { read(local + entry + zip_end(0xffffffff, 0xffffffff)); }),
              HasSubstr("zip64"));
}

TEST_F(Zip, EntriesAreCheckedAgainstTheFile) {
  EXPECT_THAT(error_of_entry(zip_entry("a", 400, 0)), HasSubstr("entry a"));
  EXPECT_THAT(error_of_entry(zip_entry("a", 80, 0)), HasSubstr("ends at byte 111"));
  EXPECT_THAT(error_of_entry(zip_entry("a", 4, 1)), HasSubstr("there is no entry at byte 1"));
  EXPECT_THAT(error_of_entry(zip_entry("a", 4, 0xfffffff0)), HasSubstr("the place of entry a"));
  EXPECT_THAT(error_of_entry(zip_entry("a", 4, 0, "", 1)), HasSubstr("encrypted"));
  EXPECT_THAT(error_of_entry("junk"), HasSubstr("directory is damaged"));
  EXPECT_THAT(error_of([] { read(zip_end(20, 10)); }), HasSubstr("directory has 20 bytes"));
  EXPECT_THAT(error_of([] { read("no zip"); }), HasSubstr("no directory"));
}

TEST(Pickle, ContainersAndNumbers) {
  const Pickle pickle =
      parse(std::string("\x80\x02}(X\x01\0\0\0aK\x05X\x01\0\0\0b]", 19) +
            std::string("(M\x01\x02J\xff\xff\xff\xff\x8a\x02\xfe\xff\x8a\0eu.", 18));
  const PickleValue& root = pickle[pickle.root];
  ASSERT_EQ(root.kind, PickleValue::Kind::kDict);
  ASSERT_EQ(root.parts.size(), 4u);
  EXPECT_EQ(pickle[root.parts[0]].text, "a");
  EXPECT_EQ(pickle[root.parts[1]].integer, 5);
  const PickleValue& list = pickle[root.parts[3]];
  ASSERT_EQ(list.parts.size(), 4u);
  std::vector<int64_t> numbers;
  for (const uint32_t part : list.parts) numbers.push_back(pickle[part].integer);
  EXPECT_THAT(numbers, ElementsAre(0x201, -1, -2, 0));
}

TEST(Pickle, OnlyAllowedGlobalsAreNamed) {
  const Pickle pickle = parse(
      "\x80\x02"
      "ctorch\nf\nK\x01\x85R.");
  EXPECT_EQ(pickle[pickle.root].kind, PickleValue::Kind::kCall);
  EXPECT_EQ(pickle[pickle[pickle.root].parts[0]].text, "torch.f");
  EXPECT_THAT(error_of_pickle("\x80\x02"
                              "cos\nsystem\n."),
              HasSubstr("it asks for os.system"));
  EXPECT_THAT(error_of_pickle("\x80\x04\x8c\x02os\x8c\x06system\x93."),
              HasSubstr("it asks for os.system"));
  EXPECT_THAT(error_of_pickle("\x80\x02"
                              "ibuiltins\neval\n."),
              HasSubstr("operation 105"));
}

TEST(Pickle, BrokenProgramsAreErrors) {
  EXPECT_THAT(error_of_pickle(""), HasSubstr("protocol 2"));
  EXPECT_THAT(error_of_pickle("(dp0\n."), HasSubstr("protocol 2"));
  EXPECT_THAT(error_of_pickle("\x80\x09N."), HasSubstr("protocol 9"));
  EXPECT_THAT(error_of_pickle("\x80\x02"), HasSubstr("truncated"));
  EXPECT_THAT(error_of_pickle("\x80\x02."), HasSubstr("stack is empty"));
  EXPECT_THAT(error_of_pickle("\x80\x02N(."), HasSubstr("stack is empty"));
  EXPECT_THAT(error_of_pickle("\x80\x02Nt."), HasSubstr("no mark"));
  EXPECT_THAT(error_of_pickle("\x80\x02N(\x85."), HasSubstr("stack is empty"));
  EXPECT_THAT(error_of_pickle("\x80\x02h\x01."), HasSubstr("recalls"));
  EXPECT_THAT(error_of_pickle("\x80\x02}K\x01"
                              "a."),
              HasSubstr("no container"));
  EXPECT_THAT(error_of_pickle("\x80\x02}(K\x01u."), HasSubstr("no value"));
  EXPECT_THAT(error_of_pickle("\x80\x02]Nb."), HasSubstr("state of an object"));
  EXPECT_THAT(error_of_pickle("\x80\x02NNR."), HasSubstr("no function"));
  EXPECT_THAT(error_of_pickle("\x80\x02X\xff\xff\xff\x7f"
                              "a."),
              HasSubstr("truncated"));
  EXPECT_THAT(error_of_pickle("\x80\x02X\x01\1\1\1\xff."), HasSubstr("truncated"));
  EXPECT_THAT(error_of_pickle("\x80\x04\x8c\x01\xff."), HasSubstr("UTF-8"));
  EXPECT_THAT(error_of_pickle("\x80\x02\x8a\x09"
                              "123456789."),
              HasSubstr("64 bits"));
  EXPECT_THAT(error_of_pickle("\x80\x02" + std::string(5'000'000, 'N') + "."),
              HasSubstr("objects"));
}

}  // namespace
}  // namespace zerostream
