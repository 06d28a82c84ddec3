#include "offload/rows.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>

#include "offload/json_values.h"
#include "offload/nearest_name.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr std::string_view kId = "id", kPrompt = "prompt", kPromptTokenIds = "prompt_token_ids",
                           kText = "text", kTokenIds = "token_ids", kMaxTokens = "max_tokens",
                           kMaxNewTokens = "max_new_tokens";

RowIdentity digest(const std::string& text) {
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  return {hash.high64, hash.low64};
}

bool is_blank(const std::string& text) {
  return text.find_first_not_of(" \t\r") == std::string::npos || text == "\xef\xbb\xbf" ||
         text == "\xef\xbb\xbf\r";
}

[[noreturn]] void throw_bad(std::string_view name, const Json& value, const BadValue& bad) {
  throw RowError("bad_value",
                 std::string(name) + ": " + show_value(value) + " is not " + bad.expected);
}

[[noreturn]] void throw_unknown(const std::string& name, std::span<const std::string_view> known) {
  throw RowError("unknown_field", "unknown field \"" + name + "\"" + suggest_name(name, known));
}

SamplingSettings row_sampling(const Json& fields) {
  if (fields.contains(kMaxTokens) && fields.contains(kMaxNewTokens))
    throw RowError("bad_value", "max_tokens and max_new_tokens are the same: give one");
  SamplingSettings settings;
  for (const auto& [name, value] : fields.items()) {
    if (name == kId || name == kPrompt || name == kPromptTokenIds) continue;
    const std::string_view setting = name == kMaxTokens ? kMaxNewTokens : name;
    const auto known = sampling_names();
    if (std::find(known.begin(), known.end(), setting) == known.end()) {
      std::vector<std::string_view> names(known.begin(), known.end());
      names.insert(names.end(), {kId, kPrompt, kPromptTokenIds, kMaxTokens});
      throw_unknown(name, names);
    }
    try {
      set_sampling(settings, setting, value);
    } catch (const BadValue& bad) {
      throw_bad(name, value, bad);
    }
  }
  return settings;
}

// The two fields of which a row has one.
struct TextFields {
  std::string_view text, ids;
};

std::vector<int32_t> encode_text(const Json& text, TextFields names, const Tokenizer* tokenizer) {
  if (!text.is_string()) throw_bad(names.text, text, {"a string"});
  if (tokenizer == nullptr)
    throw RowError("no_tokenizer", "the model has no tokenizer: give " + std::string(names.ids));
  try {
    return tokenizer->encode(text.get_ref<const std::string&>(), true);
  } catch (const UsageError& error) {
    throw RowError("bad_value", std::string(names.text) + ": " + error.what());
  }
}

std::vector<int32_t> prompt_tokens(const Json& fields, TextFields names,
                                   const RowContext& context) {
  const bool has_text = fields.contains(names.text), has_ids = fields.contains(names.ids);
  const std::string text(names.text), ids_name(names.ids);
  if (has_text == has_ids)
    throw RowError("bad_value", has_text ? text + " and " + ids_name + " are both given: give one"
                                         : "neither " + text + " nor " + ids_name + " is given");
  std::vector<int32_t> ids;
  if (has_text) {
    ids = encode_text(fields[names.text], names, context.tokenizer);
  } else {
    try {
      ids = read_token_ids(fields[names.ids]);
    } catch (const BadValue& bad) {
      throw_bad(names.ids, fields[names.ids], bad);
    }
  }
  if (ids.empty()) throw RowError("empty_prompt", "the " + text + " has no tokens");
  return ids;
}

void check_vocabulary(const std::vector<int32_t>& ids, std::string_view what, int64_t vocab_size) {
  for (const int32_t id : ids)
    if (id >= vocab_size)
      throw RowError("token_out_of_range", std::string(what) + ": id " + std::to_string(id) +
                                               " is not below the vocabulary size " +
                                               std::to_string(vocab_size));
}

void fit_model(GenerationRequest& request, const RowContext& context) {
  const int64_t most = context.model_context;
  if (most == 0) return;
  std::vector<int32_t>& prompt = request.prompt_tokens;
  const auto size = [&] { return static_cast<int64_t>(prompt.size()); };
  if (size() >= most) {
    const int64_t kept = std::max(most - request.max_new_tokens, most / 2);
    if (context.over_length == OverLength::kError || kept == 0)
      throw RowError("too_long", "the prompt has " + std::to_string(size()) +
                                     " tokens; the model's context of " + std::to_string(most) +
                                     " leaves no room for output (job.over_length: truncate "
                                     "keeps the prompt's end)");
    prompt.erase(prompt.begin(), prompt.end() - kept);
  }
  request.max_new_tokens =
      static_cast<int32_t>(std::min<int64_t>(request.max_new_tokens, most - size()));
}

void fit_memory(const GenerationRequest& request, int64_t most) {
  const int64_t tokens =
      static_cast<int64_t>(request.prompt_tokens.size()) + request.max_new_tokens;
  if (most == 0 || tokens <= most) return;
  const bool scored = request.purpose == Purpose::kScore;
  throw RowError("too_long", (scored ? "the row has " : "prompt and max_new_tokens are ") +
                                 std::to_string(tokens) +
                                 " tokens; the KV memory of this run holds " +
                                 std::to_string(most) + " (raise host.memory" +
                                 (scored ? ")" : " or lower max_new_tokens)"));
}

void check_score_fields(const Json& fields) {
  constexpr std::string_view kKnown[] = {kId, kText, kTokenIds, kPrompt, kPromptTokenIds};
  for (const auto& [name, value] : fields.items())
    if (std::find(std::begin(kKnown), std::end(kKnown), name) == std::end(kKnown))
      throw_unknown(name, kKnown);
  if ((fields.contains(kPrompt) || fields.contains(kPromptTokenIds)) &&
      (fields.contains(kText) || fields.contains(kTokenIds)))
    throw RowError("bad_value", "a text and a prompt are both given: give one");
}

GenerationRequest score_request(const InputRow& row, const RowContext& context) {
  check_score_fields(row.fields);
  const bool prompt = row.fields.contains(kPrompt) || row.fields.contains(kPromptTokenIds);
  const TextFields names =
      prompt ? TextFields{kPrompt, kPromptTokenIds} : TextFields{kText, kTokenIds};
  GenerationRequest request;
  request.handle = static_cast<uint64_t>(row.index);
  request.purpose = Purpose::kScore;
  request.max_new_tokens = 0;
  std::vector<int32_t>& tokens = request.prompt_tokens;
  tokens = prompt_tokens(row.fields, names, context);
  check_vocabulary(tokens, names.text, context.vocab_size);
  const int64_t excess = static_cast<int64_t>(tokens.size()) - context.model_context;
  if (context.model_context == 0 || excess <= 0) return request;
  if (context.over_length == OverLength::kError)
    throw RowError("too_long", "the row has " + std::to_string(tokens.size()) +
                                   " tokens; the model's context is " +
                                   std::to_string(context.model_context) +
                                   " (job.over_length: truncate keeps the row's end)");
  tokens.erase(tokens.begin(), tokens.begin() + excess);
  return request;
}

// What stands for the row in its seed: a row without an id keeps its text when its line moves.
std::string seed_name(const InputRow& row) {
  if (row.numbered == 0) return row.id.dump();
  return std::to_string(row.identity.high) + " " + std::to_string(row.identity.low);
}

GenerationRequest generation_request(const InputRow& row, const RowContext& context) {
  const SamplingSettings settings = merge_sampling(row_sampling(row.fields), context.sampling);
  GenerationRequest request;
  request.handle = static_cast<uint64_t>(row.index);
  apply_sampling(settings, seed_name(row), context.eos_ids, request);
  if (context.tokenizer == nullptr && !request.stop_strings.empty())
    throw RowError("no_tokenizer", "the model has no tokenizer: stop strings cannot be found");
  check_vocabulary(settings.stop_token_ids.value(), "stop_token_ids", context.vocab_size);
  request.prompt_tokens = prompt_tokens(row.fields, {kPrompt, kPromptTokenIds}, context);
  check_vocabulary(request.prompt_tokens, "prompt", context.vocab_size);
  fit_model(request, context);
  return request;
}

}  // namespace

RowReader::RowReader(const std::string& path, const std::atomic<bool>& stop)
    : path_(path == "-" ? "stdin" : path), lines_(path, stop) {}

std::optional<InputRow> RowReader::next() {
  while (const auto line = lines_.next()) {
    if (!line->too_long && is_blank(line->text)) continue;
    InputRow row;
    row.index = rows_++;
    row.line = line->number;
    row.id = line->number;
    row.bytes = line->text.size();
    try {
      parse(*line, row);
    } catch (const RowError& error) {
      row.error = error;
    }
    return row;
  }
  return std::nullopt;
}

void RowReader::parse(const LineReader::Line& line, InputRow& row) {
  const std::string place = path_ + ":" + std::to_string(line.number);
  if (line.too_long)
    throw RowError("line_too_long", place + ": longer than " +
                                        std::to_string(LineReader::kMostLineBytes) + " bytes");
  Json fields;
  try {
    fields = parse_json(line.text, place);
  } catch (const CheckpointError& error) {
    throw RowError("bad_json", error.what());
  }
  if (!fields.is_object()) throw RowError("bad_json", place + ": not a JSON object");
  if (const auto id = fields.find(kId); id != fields.end()) {
    if (!id->is_string() && !id->is_number_integer())
      throw_bad(kId, *id, {"a string or an integer"});
    row.id = *id;
  } else {
    row.numbered = line.number;
  }
  if (!ids_.insert(digest(row.id.dump())).second)
    throw RowError("duplicate_id", place + ": id " + row.id.dump() + " was given before");
  row.identity = digest(fields.dump());
  if (row.numbered != 0)
    if (const int64_t before = equals_[row.identity]++; before > 0)
      row.identity = digest(fields.dump() + " " + std::to_string(before));
  fields[std::string(kId)] = row.id;
  row.fields = std::move(fields);
}

GenerationRequest make_request(const InputRow& row, const RowContext& context) {
  if (row.error) throw *row.error;
  GenerationRequest request = context.purpose == Purpose::kScore ? score_request(row, context)
                                                                 : generation_request(row, context);
  fit_memory(request, context.memory_context);
  return request;
}

}  // namespace zerostream
