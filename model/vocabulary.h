// Tokens and their ids.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "model/tokenizer_json.h"

namespace zerostream {

// Lets maps of strings be searched by views.
struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using TokenIds = std::unordered_map<std::string, int32_t, StringHash, std::equal_to<>>;

// The "vocab" of a tokenizer's model.
//
// Threads: const methods from any. Errors: CheckpointError naming the token.
class Vocabulary {
 public:
  // An object of ids by token, or an array whose items are tokens or begin with them ([token,
  // score]). Of equal tokens in an array the last one counts.
  explicit Vocabulary(const JsonPart& part);
  Vocabulary(Vocabulary&&) = default;  // not copyable: ids point to tokens

  std::optional<int32_t> token_to_id(std::string_view token) const;
  const std::string* id_to_token(int32_t id) const;  // null if there is none
  // The id of a token that the file names at `where` and must have.
  int32_t require_id(std::string_view token, const std::string& where) const;

  // The id of a byte's token ("<0x0A>"), -1 if there is none.
  int32_t byte_id(char byte) const { return byte_ids_[static_cast<uint8_t>(byte)]; }

  const TokenIds& ids() const { return ids_; }
  size_t size() const { return tokens_.size(); }
  int32_t highest_id() const { return highest_id_; }  // -1: empty

 private:
  void read_object(const JsonPart& part);
  void read_array(const JsonPart& part);

  TokenIds ids_;
  std::unordered_map<int32_t, const std::string*> tokens_;
  std::array<int32_t, 256> byte_ids_{};
  int32_t highest_id_ = -1;
};

}  // namespace zerostream
