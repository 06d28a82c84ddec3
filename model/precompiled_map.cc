#include "model/precompiled_map.h"

#include <utf8proc.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "model/text_edit.h"
#include "model/unicode_classes.h"
#include "model/utf8.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr size_t kLongestGrapheme = 5;  // bytes

// Marks that Unicode got after version 15: they are part of the grapheme before them, too.
constexpr CodePointRange kRecentMarks[] = {
    {0x897, 0x897},     {0x1ACF, 0x1ADD},   {0x1AE0, 0x1AEB},   {0x10D69, 0x10D6D},
    {0x10EFA, 0x10EFC}, {0x113B8, 0x113C0}, {0x113C2, 0x113C2}, {0x113C5, 0x113C5},
    {0x113C7, 0x113CA}, {0x113CC, 0x113D0}, {0x113D2, 0x113D2}, {0x113E1, 0x113E2},
    {0x11B60, 0x11B67}, {0x11F5A, 0x11F5A}, {0x1611E, 0x1612F}, {0x1E5EE, 0x1E5EF},
    {0x1E6E3, 0x1E6E3}, {0x1E6E6, 0x1E6E6}, {0x1E6EE, 0x1E6EF}, {0x1E6F5, 0x1E6F5},
};

constexpr std::string_view kBase64 =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// Fields of a unit of the array.
uint32_t offset_of(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }
uint32_t label_of(uint32_t unit) { return unit & (1u << 31 | 0xFF); }
bool has_value(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t value_of(uint32_t unit) { return unit & ~(1u << 31); }

bool is_continuation(char byte) { return (static_cast<uint8_t>(byte) & 0xC0) == 0x80; }

bool breaks_between(char32_t left, char32_t right, utf8proc_int32_t& state) {
  if (left < 0x80 && right < 0x80) return left != '\r' || right != '\n';
  if (left >= 0x20 && in_ranges(right, kRecentMarks)) return false;
  return utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(left),
                                          static_cast<utf8proc_int32_t>(right), &state);
}

size_t grapheme_bytes(std::string_view text) {
  Utf8Sequence last = utf8_at(text, 0);
  size_t bytes = last.bytes;
  utf8proc_int32_t state = 0;
  while (bytes < text.size()) {
    const Utf8Sequence next = utf8_at(text, bytes);
    if (breaks_between(last.code_point, next.code_point, state)) break;
    bytes += next.bytes;
    last = next;
  }
  return bytes;
}

}  // namespace

PrecompiledMap::PrecompiledMap(std::string_view bytes, const std::string& where) {
  uint32_t array_bytes = 0;
  if (bytes.size() < sizeof array_bytes) throw CheckpointError(where + ": is too short");
  std::memcpy(&array_bytes, bytes.data(), sizeof array_bytes);
  bytes.remove_prefix(sizeof array_bytes);
  if (array_bytes == 0 || array_bytes % sizeof(uint32_t) != 0 || array_bytes > bytes.size()) {
    throw CheckpointError(where + ": its array of " + std::to_string(array_bytes) +
                          " bytes does not fit into it");
  }
  units_.resize(array_bytes / sizeof(uint32_t));
  std::memcpy(units_.data(), bytes.data(), array_bytes);
  blob_ = bytes.substr(array_bytes);
  if (find_invalid_utf8(blob_) != std::string::npos) {
    throw CheckpointError(where + ": its strings are not UTF-8");
  }
  // The last string may lack its end.
  blob_.push_back('\0');
}

std::optional<std::string_view> PrecompiledMap::find(std::string_view text) const {
  size_t node = offset_of(units_[0]);
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    node ^= byte;
    if (byte == 0 || node >= units_.size() || label_of(units_[node]) != byte) break;
    const bool ends_here = has_value(units_[node]);
    node ^= offset_of(units_[node]);
    if (!ends_here) continue;
    if (node >= units_.size() || value_of(units_[node]) >= blob_.size()) break;
    const char* replacement = blob_.data() + value_of(units_[node]);
    if (is_continuation(*replacement)) break;
    return std::string_view(replacement);
  }
  return std::nullopt;
}

void PrecompiledMap::append(std::string& result, std::string_view text) const {
  result += find(text).value_or(text);
}

std::string PrecompiledMap::operator()(std::string_view text) const {
  const size_t all_bytes = text.size();
  std::string result;
  result.reserve(all_bytes);
  while (!text.empty()) {
    const size_t bytes = grapheme_bytes(text);
    const std::string_view grapheme = text.substr(0, bytes);
    const std::optional<std::string_view> whole =
        bytes <= kLongestGrapheme ? find(grapheme) : std::nullopt;
    if (whole) {
      result += *whole;
    } else {
      for (size_t i = 0; i < bytes;) {
        const size_t character = utf8_at(grapheme, i).bytes;
        append(result, grapheme.substr(i, character));
        i += character;
      }
    }
    text.remove_prefix(bytes);
    check_growth(all_bytes, result.size());
  }
  return result;
}

std::string decode_base64(std::string_view text, const std::string& where) {
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string bytes;
  bytes.reserve(text.size() * 3 / 4);
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const size_t value = kBase64.find(c);
    if (value == std::string_view::npos) throw CheckpointError(where + ": is not base64");
    bits = bits << 6 | static_cast<uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes.push_back(static_cast<char>(bits >> count & 0xFF));
  }
  return bytes;
}

std::string encode_base64(std::string_view bytes) {
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    for (size_t k = 0; k < 3; ++k) {
      bits = bits << 8 | (k < count ? static_cast<uint8_t>(bytes[i + k]) : 0);
    }
    for (size_t k = 0; k < 4; ++k) {
      text.push_back(k <= count ? kBase64[bits >> (18 - 6 * k) & 0x3F] : '=');
    }
  }
  return text;
}

}  // namespace zerostream
