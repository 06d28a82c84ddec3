#include "offload/stop_strings.h"

#include <gtest/gtest.h>

#include "tests/offload/golden_case.h"

namespace zerostream {
namespace {

std::unique_ptr<Tokenizer> tokenizer() {
  return load_tokenizer(golden_path("tokenizers/gpt2.json"));
}

// Where the first stop string begins, and after how many of the text's tokens it was seen.
std::pair<size_t, size_t> find(const std::string& text, const std::vector<std::string>& strings) {
  const auto tokens = tokenizer();
  StopStrings stops(*tokens, strings);
  const std::vector<int32_t> ids = tokens->encode(text, false);
  for (size_t i = 0; i < ids.size(); ++i)
    if (const auto begin = stops.push(ids[i])) return {*begin, i + 1};
  return {std::string::npos, ids.size()};
}

TEST(StopStrings, AreFoundAcrossTokenBorders) {
  const std::string text = "alpha beta gamma delta";
  for (size_t begin = 0; begin < text.size(); ++begin)
    for (size_t size = 1; begin + size <= text.size(); ++size) {
      const std::string stop = text.substr(begin, size);
      EXPECT_EQ(find(text, {stop}).first, text.find(stop)) << stop;
    }
}

TEST(StopStrings, TheEarliestWins) {
  EXPECT_EQ(find("one two three", {"three", "two"}).first, 4u);
  EXPECT_EQ(find("one two three", {"absent"}).first, std::string::npos);
}

TEST(StopStrings, AreSeenAsSoonAsTheyAreComplete) {
  EXPECT_LT(find("stop here and then go on for a long while", {"here"}).second,
            tokenizer()->encode("stop here and then go on for a long while", false).size());
}

}  // namespace
}  // namespace zerostream
