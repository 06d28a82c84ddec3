// The content of a sentencepiece model file (tokenizer.model, spiece.model).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/json.h"

namespace zerostream {

enum class SpmPieceType : int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

struct SpmPiece {
  std::string text;
  float score = 0;
  SpmPieceType type = SpmPieceType::kNormal;
};

// Defaults are those of the file format.
struct SpmModel {
  enum class Kind : int32_t { kUnigram = 1, kBpe = 2, kWord = 3, kChar = 4 };

  std::vector<SpmPiece> pieces;  // by id
  Kind kind = Kind::kUnigram;
  bool byte_fallback = false;
  bool space_as_suffix = false;
  int32_t unknown_id = 0;
  int32_t bos_id = 1;  // -1: none
  int32_t eos_id = 2;
  std::string charsmap;  // empty: characters stay as they are
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
};

// Reads the file's bytes, a protocol buffer. Throws CheckpointError naming `source`.
SpmModel read_spm_model(std::string_view bytes, const std::string& source);

// In which order pieces of a BPE are merged: as they stand in the file, or the best score first.
enum class MergeOrder { kById, kByScore };

// The merges of a BPE whose pieces' order or scores say what is merged first: every way to make a
// piece of two others. As an array of pairs.
Json spm_merges(const std::vector<SpmPiece>& pieces, MergeOrder order, const std::string& source);

}  // namespace zerostream
