// Input rows: from lines of JSON to requests.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "model/json.h"
#include "model/tokenizer.h"
#include "offload/line_reader.h"
#include "offload/run_config.h"
#include "offload/sampling_settings.h"

namespace zerostream {

// What is wrong with one row; it ends in an error row and the others go on.
class RowError : public std::runtime_error {
 public:
  RowError(std::string code, const std::string& message)
      : std::runtime_error(message), code_(std::move(code)) {}
  const std::string& code() const { return code_; }

 private:
  std::string code_;  // for programs: "bad_json", "bad_value", ...
};

// XXH3-128 of a row's content: its fields, whatever their order and spacing, its id among them. Of
// rows without an id that are equal, the second differs from the first, and so on.
struct RowIdentity {
  uint64_t high = 0, low = 0;
  bool operator==(const RowIdentity&) const = default;
};
struct RowIdentityHash {
  size_t operator()(const RowIdentity& identity) const { return identity.low; }
};

struct InputRow {
  int64_t index = 0;     // among the rows of the input, from 0; blank lines are no rows
  int64_t line = 0;      // from 1
  Json id;               // a string, an integer, or the line number where the row has none
  int64_t numbered = 0;  // the line, where it is the id; 0 for rows with an id of their own
  RowIdentity identity;
  Json fields;                    // the row as an object
  size_t bytes = 0;               // of the line
  std::optional<RowError> error;  // the line is no row: its JSON, its id, or an id seen before
};

// Reads rows in order, with about 50 bytes of memory for each row seen (its id), as much again for
// each row without an id.
// Threads and errors: as LineReader.
class RowReader {
 public:
  RowReader(const std::string& path, const std::atomic<bool>& stop);
  std::optional<InputRow> next();

 private:
  void parse(const LineReader::Line& line, InputRow& row);

  std::string path_;
  LineReader lines_;
  int64_t rows_ = 0;
  std::unordered_set<RowIdentity, RowIdentityHash> ids_;
  std::unordered_map<RowIdentity, int64_t, RowIdentityHash> equals_;  // rows without an id, so far
};

// What rows are checked and completed with.
struct RowContext {
  Purpose purpose = Purpose::kGenerate;
  const Tokenizer* tokenizer = nullptr;  // null: rows must bring token ids, and no stop strings
  int64_t vocab_size = 0;
  SamplingSettings sampling = {};  // every member set: of the run file, the model and the defaults
  std::vector<int32_t> eos_ids = {};
  int64_t model_context = 0;   // most tokens of prompt and output that the model knows; 0: no limit
  int64_t memory_context = 0;  // most that the KV memory holds; 0: no limit
  OverLength over_length = OverLength::kError;
};

// Checks a row and makes its request, with handle = row.index. A prompt (`prompt` or
// `prompt_token_ids`) that leaves the model no
// room for a token is an error, or (OverLength::kTruncate) loses its beginning: what is left has
// room for max_new_tokens, and is at least half of the model's context. max_new_tokens is cut to
// the room that there is. A row that the model but not the KV memory holds is an error, so that
// memory never changes a text.
//
// A row to score has `text` or `token_ids`, or a prompt, and no sampling. It may fill the model's
// context; a longer one is an error, or loses its beginning.
// Throws RowError. Threads: any.
GenerationRequest make_request(const InputRow& row, const RowContext& context);

}  // namespace zerostream
