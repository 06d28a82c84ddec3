#include "tests/fuzz/fuzz_input.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <numeric>

#include "base/require.h"
#include "model/utf8.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int32_t kFirstIds = 16;

void decode_all(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  for (const bool skip_special : {false, true}) {
    const std::string whole = tokenizer.decode(ids, skip_special);
    expect(find_invalid_utf8(whole) == std::string::npos, "decode() gives UTF-8");
  }
  StreamDecoder decoder(tokenizer, true);
  for (const int32_t id : ids)
    expect(find_invalid_utf8(decoder.push(id)) == std::string::npos, "push() gives UTF-8");
  expect(find_invalid_utf8(decoder.finish()) == std::string::npos, "finish() gives UTF-8");
}

}  // namespace

std::vector<std::string> split_parts(std::string_view input, size_t count) {
  std::vector<std::string> parts;
  while (parts.size() + 1 < count) {
    const size_t border = input.find(kPartBorder);
    parts.emplace_back(input.substr(0, border));
    input.remove_prefix(border == std::string_view::npos ? input.size()
                                                         : border + kPartBorder.size());
  }
  parts.emplace_back(input);
  return parts;
}

MemoryFile::MemoryFile(std::string_view bytes)
    : fd_(memfd_create("fuzz", MFD_CLOEXEC)), path_("/proc/self/fd/" + std::to_string(fd_)) {
  require(fd_ >= 0 && write(fd_, bytes.data(), bytes.size()) == std::ssize(bytes),
          "a file in memory can be made");
}

MemoryFile::~MemoryFile() { close(fd_); }

void use_tokenizer(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<int32_t> first(static_cast<size_t>(std::min(tokenizer.vocab_size(), kFirstIds)));
  std::iota(first.begin(), first.end(), 0);
  for (const int32_t id : first) tokenizer.token_to_id(tokenizer.id_to_token(id));
  decode_all(tokenizer, first);
  const std::vector<int32_t> ids = tokenizer.encode(replace_invalid_utf8(text), true);
  for (const int32_t id : ids) expect(id >= 0, "ids are not negative");
  decode_all(tokenizer, ids);
  tokenizer.encode(text, false);
}

}  // namespace zerostream
