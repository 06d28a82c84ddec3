#include "model/zip_archive.h"

#include <algorithm>
#include <cstring>

#include "model/utf8.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr uint32_t kEntrySignature = 0x02014b50;
constexpr uint32_t kLocalSignature = 0x04034b50;
constexpr uint32_t kEnd64Signature = 0x06064b50;
constexpr uint32_t kLocator64Signature = 0x07064b50;
constexpr std::string_view kEndMagic = "PK\x05\x06";
constexpr int64_t kEntryBytes = 46;
constexpr int64_t kLocalBytes = 30;
constexpr int64_t kEndBytes = 22;
constexpr int64_t kEnd64Bytes = 56;
constexpr int64_t kLocator64Bytes = 20;
constexpr int64_t kMaxCommentBytes = 0xffff;
constexpr int64_t kMaxDirectoryBytes = int64_t{1} << 28;
constexpr uint16_t kExtra64 = 1;
constexpr uint32_t kIn64 = 0xffffffff;  // the number is in a zip64 record

template <typename T>
T load(std::string_view bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

struct Directory {
  int64_t offset = 0;
  int64_t bytes = 0;
};

class DirectoryReader {
 public:
  explicit DirectoryReader(const InputFile& file) : file_(file) {}

  std::vector<ZipEntry> read() const {
    const Directory directory = find_directory();
    const std::string bytes = file_.read_text(directory.offset, directory.bytes);
    std::vector<ZipEntry> entries;
    std::string_view left = bytes;
    while (!left.empty()) entries.push_back(take_entry(left));
    return entries;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw CheckpointError(file_.path() + ": zip archive: " + what);
  }

  // A number of the file that counts its bytes, or a place in it.
  int64_t within_file(uint64_t value, const std::string& of) const {
    if (value > static_cast<uint64_t>(file_.size()))
      fail(of + " is " + std::to_string(value) + ", the file has " + std::to_string(file_.size()) +
           " bytes: it is truncated or damaged");
    return static_cast<int64_t>(value);
  }

  Directory find_directory() const {
    const int64_t tail = std::min(file_.size(), kEndBytes + kMaxCommentBytes);
    const std::string bytes = file_.read_text(file_.size() - tail, tail);
    const size_t at = bytes.rfind(kEndMagic);
    if (at == std::string::npos || bytes.size() - at < static_cast<size_t>(kEndBytes))
      fail("there is no directory at its end: the file is truncated");
    const std::string_view end = std::string_view(bytes).substr(at);
    uint64_t size = load<uint32_t>(end, 12);
    uint64_t offset = load<uint32_t>(end, 16);
    if (load<uint16_t>(end, 4) != 0 && load<uint16_t>(end, 4) != 0xffff)
      fail("it is a part of several");
    if (size == kIn64 || offset == kIn64 || load<uint16_t>(end, 10) == 0xffff) {
      const std::string end64 = find_end64(file_.size() - std::ssize(end));
      size = load<uint64_t>(end64, 40);
      offset = load<uint64_t>(end64, 48);
    }
    const Directory directory = {within_file(offset, "the place of its directory"),
                                 within_file(size, "the size of its directory")};
    if (directory.bytes > file_.size() - directory.offset || directory.bytes > kMaxDirectoryBytes)
      fail("its directory has " + std::to_string(directory.bytes) + " bytes");
    return directory;
  }

  // The zip64 record of the end, whose locator is before the plain one.
  std::string find_end64(int64_t end) const {
    if (end < kLocator64Bytes) fail("its zip64 locator is missing");
    const std::string locator = file_.read_text(end - kLocator64Bytes, kLocator64Bytes);
    if (load<uint32_t>(locator, 0) != kLocator64Signature) fail("its zip64 locator is missing");
    const int64_t offset = within_file(load<uint64_t>(locator, 8), "the place of its zip64 record");
    if (file_.size() - offset < kEnd64Bytes) fail("its zip64 record is missing");
    std::string record = file_.read_text(offset, kEnd64Bytes);
    if (load<uint32_t>(record, 0) != kEnd64Signature) fail("its zip64 record is missing");
    return record;
  }

  ZipEntry take_entry(std::string_view& left) const {
    if (std::ssize(left) < kEntryBytes || load<uint32_t>(left, 0) != kEntrySignature)
      fail("its directory is damaged");
    const std::string_view fixed = left.substr(0, kEntryBytes);
    const size_t name_bytes = load<uint16_t>(fixed, 28);
    const size_t extra_bytes = load<uint16_t>(fixed, 30);
    const size_t comment_bytes = load<uint16_t>(fixed, 32);
    const size_t bytes = kEntryBytes + name_bytes + extra_bytes + comment_bytes;
    if (bytes > left.size()) fail("its directory is damaged");
    const std::string_view name = left.substr(kEntryBytes, name_bytes);
    const std::string_view extra = left.substr(kEntryBytes + name_bytes, extra_bytes);
    left.remove_prefix(bytes);
    if (find_invalid_utf8(name) != std::string_view::npos) fail("the name of an entry is no UTF-8");
    return read_entry(std::string(name), fixed, extra);
  }

  ZipEntry read_entry(const std::string& name, std::string_view fixed,
                      std::string_view extra) const {
    if ((load<uint16_t>(fixed, 8) & 1) != 0) fail("entry " + name + " is encrypted");
    if (load<uint16_t>(fixed, 10) != 0)
      fail("entry " + name + " is compressed; only stored entries can be read");
    // The zip64 record holds those of these that do not fit, in this order.
    uint64_t numbers[] = {load<uint32_t>(fixed, 24), load<uint32_t>(fixed, 20),
                          load<uint32_t>(fixed, 42)};
    std::string_view wide = find_extra64(extra);
    for (uint64_t& number : numbers) {
      if (number != kIn64) continue;
      if (wide.size() < sizeof number) fail("entry " + name + " lacks its zip64 record");
      number = load<uint64_t>(wide, 0);
      wide.remove_prefix(sizeof number);
    }
    if (numbers[0] != numbers[1]) fail("entry " + name + " has two sizes");
    ZipEntry entry = {name, 0, within_file(numbers[0], "the size of entry " + name)};
    entry.offset = data_begin(name, within_file(numbers[2], "the place of entry " + name));
    if (entry.bytes > file_.size() - entry.offset)
      fail("entry " + name + " ends at byte " + std::to_string(entry.offset + entry.bytes) +
           ", the file has " + std::to_string(file_.size()) + ": it is truncated");
    return entry;
  }

  static std::string_view find_extra64(std::string_view extra) {
    while (extra.size() >= 4) {
      const size_t bytes = load<uint16_t>(extra, 2);
      if (bytes > extra.size() - 4) break;
      if (load<uint16_t>(extra, 0) == kExtra64) return extra.substr(4, bytes);
      extra.remove_prefix(4 + bytes);
    }
    return {};
  }

  // Where the bytes of the entry begin whose own header is at `offset`.
  int64_t data_begin(const std::string& name, int64_t offset) const {
    if (file_.size() - offset < kLocalBytes) fail("entry " + name + " is beyond the file's end");
    const std::string header = file_.read_text(offset, kLocalBytes);
    if (load<uint32_t>(header, 0) != kLocalSignature)
      fail("there is no entry at byte " + std::to_string(offset) + ", where " + name +
           " should be");
    const int64_t begin =
        offset + kLocalBytes + load<uint16_t>(header, 26) + load<uint16_t>(header, 28);
    return within_file(static_cast<uint64_t>(begin), "the begin of entry " + name);
  }

  const InputFile& file_;
};

}  // namespace

std::vector<ZipEntry> read_zip_directory(const InputFile& file) {
  return DirectoryReader(file).read();
}

}  // namespace zerostream
