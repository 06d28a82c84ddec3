#include "model/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>

#include "zerostream/error.h"

namespace zerostream {

Vocabulary::Vocabulary(const JsonPart& part) {
  if (part.value().is_object()) {
    read_object(part);
  } else if (part.value().is_array()) {
    read_array(part);
  } else {
    part.fail("must be an object of token ids or an array of tokens");
  }
  for (const auto& [id, token] : tokens_) highest_id_ = std::max(highest_id_, id);
  for (int byte = 0; byte < 256; ++byte) {
    byte_ids_[byte] = token_to_id(fmt::format("<0x{:02X}>", byte)).value_or(-1);
  }
}

void Vocabulary::read_object(const JsonPart& part) {
  ids_.reserve(part.value().size());
  for (const auto& [token, id] : part.value().items()) {
    ids_.emplace(token, JsonPart(id, part.where() + "[\"" + token + "\"]").id());
  }
  tokens_.reserve(ids_.size());
  for (const auto& [token, id] : ids_) {
    if (!tokens_.emplace(id, &token).second) {
      part.fail(
          fmt::format("tokens \"{}\" and \"{}\" have the same id {}", *tokens_[id], token, id));
    }
  }
}

void Vocabulary::read_array(const JsonPart& part) {
  ids_.reserve(part.value().size());
  tokens_.reserve(part.value().size());
  int32_t id = 0;
  for (const JsonPart& item : part.items()) {
    const Json& value = item.value();
    const bool pair = value.is_array() && !value.empty();
    const std::string token = pair ? JsonPart(value[0], item.where() + "[0]").text() : item.text();
    const auto entry = ids_.insert_or_assign(token, id).first;
    tokens_.emplace(id++, &entry->first);
  }
}

std::optional<int32_t> Vocabulary::token_to_id(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

const std::string* Vocabulary::id_to_token(int32_t id) const {
  const auto found = tokens_.find(id);
  return found == tokens_.end() ? nullptr : found->second;
}

int32_t Vocabulary::require_id(std::string_view token, const std::string& where) const {
  const std::optional<int32_t> id = token_to_id(token);
  if (!id) {
    throw CheckpointError(fmt::format("{}: token \"{}\" is not in the vocabulary", where, token));
  }
  return *id;
}

}  // namespace zerostream
