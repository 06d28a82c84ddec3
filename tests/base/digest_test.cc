#include "base/digest.h"

#include <gtest/gtest.h>

#include <string>

namespace zerostream {
namespace {

TEST(DigestTest, KnownValues) {
  EXPECT_EQ(digest_to_hex(digest_of("")), "2d06800538d394c2");
  EXPECT_NE(digest_of("a"), digest_of("b"));
}

TEST(DigestTest, CutsDoNotMatter) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += static_cast<char>(i * 31);
  Digest digest;
  for (size_t begin = 0, size = 0; begin < text.size(); begin += size, ++size) {
    digest.update(std::string_view(text).substr(begin, size));
  }
  EXPECT_EQ(digest.value(), digest_of(text));
}

TEST(DigestTest, HexGoesBothWays) {
  for (const uint64_t value :
       {uint64_t{0}, uint64_t{1}, ~uint64_t{0}, uint64_t{0x0123456789abcdef}}) {
    EXPECT_EQ(digest_from_hex(digest_to_hex(value)), value);
  }
  EXPECT_EQ(digest_to_hex(0xabc), "0000000000000abc");
  for (const char* bad : {"", "abc", "00000000000000000", "000000000000000G", "000000000000000A"}) {
    EXPECT_EQ(digest_from_hex(bad), std::nullopt) << bad;
  }
}

}  // namespace
}  // namespace zerostream
