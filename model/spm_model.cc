#include "model/spm_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>
#include <tuple>
#include <unordered_map>

#include "model/utf8.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr size_t kLongestPiece = 4096;  // bytes; cutting it in two everywhere costs its square
constexpr size_t kMostMerges = 64;      // that make a piece, on average over all bytes
constexpr size_t kFreeMergedBytes = size_t{1} << 20;

// One message of a protocol buffer, field by field.
class MessageReader {
 public:
  struct Field {
    uint32_t number = 0;
    uint64_t value = 0;      // of numbers, also of floats' bits
    std::string_view bytes;  // of strings and messages
  };

  MessageReader(std::string_view bytes, const std::string& source)
      : bytes_(bytes), source_(source) {}

  std::optional<Field> next() {
    if (bytes_.empty()) return std::nullopt;
    const uint64_t key = number();
    Field field{.number = static_cast<uint32_t>(key >> 3), .bytes = {}};
    switch (key & 7) {
      case 0:
        field.value = number();
        break;
      case 1:
        take(8);
        break;
      case 2:
        field.bytes = take(number());
        break;
      case 5:
        std::memcpy(&field.value, take(4).data(), 4);
        break;
      default:
        fail("a field of an unknown kind");
    }
    return field;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw CheckpointError(source_ + ": is no sentencepiece model: " + what);
  }

  std::string_view take(uint64_t count) {
    if (count > bytes_.size()) fail("it ends within a field");
    const std::string_view taken = bytes_.substr(0, count);
    bytes_.remove_prefix(count);
    return taken;
  }

  uint64_t number() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<uint8_t>(take(1)[0]);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    fail("a number without end");
  }

  std::string_view bytes_;
  const std::string& source_;
};

template <typename Handle>
void each_field(std::string_view message, const std::string& source, Handle&& handle) {
  MessageReader reader(message, source);
  while (const auto field = reader.next()) handle(*field);
}

SpmPiece read_piece(std::string_view message, const std::string& source) {
  SpmPiece piece;
  each_field(message, source, [&](const MessageReader::Field& field) {
    if (field.number == 1) piece.text = field.bytes;
    if (field.number == 2) piece.score = std::bit_cast<float>(static_cast<uint32_t>(field.value));
    if (field.number == 3) piece.type = static_cast<SpmPieceType>(field.value);
  });
  if (find_invalid_utf8(piece.text) != std::string::npos) {
    throw CheckpointError(source + ": a piece is not UTF-8");
  }
  return piece;
}

void read_trainer(std::string_view message, const std::string& source, SpmModel& model) {
  each_field(message, source, [&](const MessageReader::Field& field) {
    switch (field.number) {
      case 3:
        model.kind = static_cast<SpmModel::Kind>(field.value);
        break;
      case 24:
        model.space_as_suffix = field.value != 0;
        break;
      case 35:
        model.byte_fallback = field.value != 0;
        break;
      case 40:
        model.unknown_id = static_cast<int32_t>(field.value);
        break;
      case 41:
        model.bos_id = static_cast<int32_t>(field.value);
        break;
      case 42:
        model.eos_id = static_cast<int32_t>(field.value);
        break;
      default:
        break;
    }
  });
}

void read_normalizer(std::string_view message, const std::string& source, SpmModel& model) {
  each_field(message, source, [&](const MessageReader::Field& field) {
    if (field.number == 2) model.charsmap = field.bytes;
    if (field.number == 3) model.add_dummy_prefix = field.value != 0;
    if (field.number == 4) model.remove_extra_whitespaces = field.value != 0;
  });
}

// Two pieces that make a third.
struct Merge {
  std::string_view left, right;
  float score;
  int32_t id, left_id, right_id;

  size_t left_characters() const { return characters(left); }
  size_t right_characters() const { return characters(right); }

 private:
  static size_t characters(std::string_view text) {
    return static_cast<size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
  }
};

std::vector<Merge> find_merges(const std::vector<SpmPiece>& pieces, const std::string& source) {
  std::unordered_map<std::string_view, int32_t> ids;
  for (size_t id = 0; id < pieces.size(); ++id) {
    ids.insert_or_assign(pieces[id].text, static_cast<int32_t>(id));
  }
  size_t bytes = 0, merged_bytes = 0;
  for (const auto& piece : pieces) bytes += piece.text.size();
  std::vector<Merge> merges;
  for (const auto& piece : pieces) {
    const std::string_view text = piece.text;
    if (text.size() > kLongestPiece || !std::isfinite(piece.score)) {
      throw CheckpointError(source + ": a piece is too long, or its score is no number");
    }
    const int32_t id = ids.at(text);
    for (size_t cut = 1; cut < text.size(); ++cut) {
      const auto left = ids.find(text.substr(0, cut)), right = ids.find(text.substr(cut));
      if (left == ids.end() || right == ids.end()) continue;
      merged_bytes += text.size();
      if (merged_bytes > kFreeMergedBytes + kMostMerges * bytes) {
        throw CheckpointError(source + ": there are too many ways to merge its pieces");
      }
      merges.push_back({left->first, right->first, piece.score, id, left->second, right->second});
    }
  }
  return merges;
}

}  // namespace

SpmModel read_spm_model(std::string_view bytes, const std::string& source) {
  SpmModel model;
  each_field(bytes, source, [&](const MessageReader::Field& field) {
    if (field.number == 1) model.pieces.push_back(read_piece(field.bytes, source));
    if (field.number == 2) read_trainer(field.bytes, source, model);
    if (field.number == 3) read_normalizer(field.bytes, source, model);
  });
  if (model.pieces.empty()) throw CheckpointError(source + ": has no pieces");
  return model;
}

Json spm_merges(const std::vector<SpmPiece>& pieces, MergeOrder order, const std::string& source) {
  std::vector<Merge> merges = find_merges(pieces, source);
  std::sort(merges.begin(), merges.end(), [order](const Merge& a, const Merge& b) {
    const auto rest = [](const Merge& m) { return std::tuple(m.id, m.left_id, m.right_id); };
    const auto lengths = [](const Merge& m) {
      return std::pair(m.left_characters(), m.right_characters());
    };
    if (order == MergeOrder::kById) {
      return std::tuple(a.id, lengths(a), rest(a)) < std::tuple(b.id, lengths(b), rest(b));
    }
    if (a.score != b.score) return a.score > b.score;
    return std::tuple(lengths(b), rest(a)) < std::tuple(lengths(a), rest(b));
  });
  Json result = Json::array();
  for (const Merge& merge : merges) result.push_back({merge.left, merge.right});
  return result;
}

}  // namespace zerostream
