// Byte-pair encoding of words.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/vocabulary.h"

namespace zerostream {

// The "BPE" model of tokenizer.json: a vocabulary and ranked merges of two tokens into one.
//
// Threads: const methods from any. Errors: CheckpointError naming the part of the file.
class BpeModel {
 public:
  explicit BpeModel(const JsonPart& model);

  // Appends the ids of a word: its characters (with the prefix and suffix of their places), merged
  // in the order of rank, the leftmost first. Takes O(n log n) for n characters. Characters that
  // the vocabulary lacks become bytes ("<0x0A>") or the unknown token where the model has them,
  // else nothing.
  void encode(std::string_view word, std::vector<int32_t>& ids) const;

  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  struct Merge {
    int32_t rank = 0;
    int32_t id = 0;
  };
  struct Symbol {
    int32_t id = 0;
    int32_t previous = -1;
    int32_t next = -1;
    bool merged_away = false;
  };

  void read_merges(const JsonPart& merges);
  void add_merge(const std::string& left, const std::string& right, int32_t rank,
                 const JsonPart& where);
  const Merge* find_merge(int32_t left, int32_t right) const;

  std::vector<Symbol> split(std::string_view word) const;
  bool split_to_bytes(std::string_view text, std::vector<Symbol>& symbols) const;
  void merge_all(std::vector<Symbol>& symbols) const;
  int32_t unknown_id() const;

  Vocabulary vocabulary_;
  std::unordered_map<uint64_t, Merge> merges_;  // by left << 32 | right
  std::optional<std::string> unknown_token_;
  std::string where_, continuing_prefix_, end_suffix_;
  bool fuse_unknown_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;  // a word that is a token is taken as it is
};

}  // namespace zerostream
