#include "base/bytes.h"

#include <gtest/gtest.h>

namespace zerostream {
namespace {

TEST(Bytes, ParsesSuffixes) {
  EXPECT_EQ(parse_bytes("4096"), 4096);
  EXPECT_EQ(parse_bytes("0"), 0);
  EXPECT_EQ(parse_bytes("24GiB"), int64_t{24} << 30);
  EXPECT_EQ(parse_bytes("1.5 MiB"), 3 << 19);
  EXPECT_EQ(parse_bytes("2GB"), 2'000'000'000);
}

TEST(Bytes, RefusesWhatIsNoSize) {
  for (const char* text :
       {"", "GiB", "-1", "1e9", "12 GIB", "nan", "inf", "5GiBs", "0x10", "99999999TiB"})
    EXPECT_EQ(parse_bytes(text), std::nullopt) << text;
}

TEST(Bytes, FormatsThreeFigures) {
  EXPECT_EQ(format_bytes(812), "812 B");
  EXPECT_EQ(format_bytes(int64_t{3} << 29), "1.50 GiB");
  EXPECT_EQ(format_bytes(int64_t{135} << 20), "135 MiB");
}

}  // namespace
}  // namespace zerostream
