#include "offload/kv_blocks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <map>
#include <random>

#include "zerostream/error.h"

namespace zerostream {
namespace {

using Tokens = std::vector<int32_t>;

constexpr int32_t kBlockTokens = 3;

struct ModelRow {
  Tokens tokens;
  std::vector<int32_t> blocks;
  int64_t sealed = 0;  // blocks that went through seal() or were found

  int64_t full_blocks() const { return static_cast<int64_t>(tokens.size()) / kBlockTokens; }
};

// What KvBlocks promises, in plain containers: a block's content is the whole row up to its end.
class KvBlocksModel {
 public:
  explicit KvBlocksModel(int64_t num_blocks) : blocks_(num_blocks) {}

  int64_t available() const {
    return std::count_if(blocks_.begin(), blocks_.end(),
                         [](const Block& block) { return block.holders == 0; });
  }
  bool held(int32_t block) const { return blocks_[block].holders > 0; }
  bool sealed(int32_t block) const { return blocks_[block].sealed; }

  void expect_take(int32_t taken) {
    const bool any_free = available() > static_cast<int64_t>(cached_.size());
    if (any_free) {
      EXPECT_FALSE(blocks_[taken].sealed) << "free blocks come before cached ones";
    } else {
      EXPECT_EQ(taken, cached_.front()) << "the one used least recently goes first";
      cached_.pop_front();
      std::erase_if(known_, [&](const auto& entry) { return entry.second == taken; });
    }
    EXPECT_EQ(blocks_[taken].holders, 0);
    blocks_[taken] = {};
    blocks_[taken].holders = 1;
  }
  void extend(ModelRow& row) {
    while (static_cast<int64_t>(row.blocks.size() + 1) * kBlockTokens <
           static_cast<int64_t>(row.tokens.size())) {
      const auto found = known_.find(key(row, static_cast<int64_t>(row.blocks.size())));
      if (found == known_.end()) return;
      Block& block = blocks_[found->second];
      EXPECT_TRUE(std::equal(block.content.begin(), block.content.end(), row.tokens.begin()));
      if (block.holders++ == 0) cached_.remove(found->second);
      row.blocks.push_back(found->second);
      ++row.sealed;
    }
  }
  void seal(ModelRow& row, int64_t last) {
    for (; row.sealed < last; ++row.sealed) {
      Block& block = blocks_[row.blocks[row.sealed]];
      const auto [known, fresh] = known_.emplace(key(row, row.sealed), row.blocks[row.sealed]);
      block.name = fresh ? ++names_ : blocks_[known->second].name;
      block.sealed = fresh;
      block.content.assign(row.tokens.begin(),
                           row.tokens.begin() + (row.sealed + 1) * kBlockTokens);
    }
  }
  void release(const ModelRow& row) {
    for (auto it = row.blocks.rbegin(); it != row.blocks.rend(); ++it)
      if (--blocks_[*it].holders == 0 && blocks_[*it].sealed) cached_.push_back(*it);
  }

 private:
  struct Block {
    int holders = 0;
    bool sealed = false;
    int64_t name = 0;
    Tokens content;
  };
  using Key = std::pair<int64_t, Tokens>;  // the block before, this block's tokens
  Key key(const ModelRow& row, int64_t index) const {
    const auto begin = row.tokens.begin() + index * kBlockTokens;
    return {index == 0 ? 0 : blocks_[row.blocks[index - 1]].name, {begin, begin + kBlockTokens}};
  }

  std::vector<Block> blocks_;
  std::map<Key, int32_t> known_;
  std::list<int32_t> cached_;  // used least recently first
  int64_t names_ = 0;
};

class KvBlocksRandom : public testing::TestWithParam<int64_t> {};

// With one bucket all content collides: only comparing tokens tells it apart.
TEST_P(KvBlocksRandom, FollowsAPlainModel) {
  constexpr int64_t kBlocks = 24;
  KvBlocks blocks(kBlocks, kBlockTokens, GetParam());
  KvBlocksModel model(kBlocks);
  std::vector<ModelRow> rows;
  std::mt19937 random(11);
  int64_t found = 0, evictions = 0;
  for (int step = 0; step < 20'000 && !HasFailure(); ++step) {
    const size_t choice = random() % 8;
    if (choice == 0 && rows.size() < 8) {
      ModelRow row;
      for (size_t left = 1 + random() % 20; left > 0; --left)
        row.tokens.push_back(random() % 6 == 0);  // beginnings are often the same
      rows.push_back(row);
    }
    if (rows.empty()) continue;
    ModelRow& row = rows[random() % rows.size()];
    const auto held = static_cast<int64_t>(row.blocks.size());
    if (choice == 1) {
      model.release(row);
      blocks.release(row.blocks);
      std::swap(row, rows.back());
      rows.pop_back();
    } else if (choice <= 3 && row.sealed == held) {
      std::vector<int32_t> extended = row.blocks;
      const int64_t covered = blocks.extend_by_known(row.tokens, extended);
      model.extend(row);
      EXPECT_EQ(extended, row.blocks);
      EXPECT_EQ(covered, static_cast<int64_t>(row.blocks.size()) * kBlockTokens);
      found += static_cast<int64_t>(row.blocks.size()) - held;
    } else if (choice <= 6 && held * kBlockTokens < static_cast<int64_t>(row.tokens.size()) &&
               model.available() > 0) {
      row.blocks.push_back(blocks.take());
      evictions += model.sealed(row.blocks.back());
      model.expect_take(row.blocks.back());
    } else if (choice == 7) {
      const int64_t last = std::min(row.full_blocks(), held);
      blocks.seal(row.tokens, row.blocks, row.sealed, std::max(row.sealed, last));
      model.seal(row, last);
    }
    EXPECT_EQ(blocks.available(), model.available());
    for (int32_t block = 0; block < kBlocks; ++block) {
      EXPECT_EQ(blocks.is_held(block), model.held(block));
      EXPECT_EQ(blocks.is_sealed(block), model.sealed(block));
    }
  }
  EXPECT_GT(found, 500);
  EXPECT_GT(evictions, 500);
}

INSTANTIATE_TEST_SUITE_P(Buckets, KvBlocksRandom, testing::Values(0, 1, 5));

// Blocks for a row of whole blocks, made known.
std::vector<int32_t> add_row(KvBlocks& blocks, const Tokens& tokens) {
  std::vector<int32_t> row;
  while (static_cast<int64_t>(row.size()) < blocks.blocks_for(static_cast<int64_t>(tokens.size())))
    row.push_back(blocks.take());
  blocks.seal(tokens, row, 0, static_cast<int64_t>(tokens.size()) / blocks.block_tokens());
  return row;
}

std::vector<int32_t> known(KvBlocks& blocks, const Tokens& tokens) {
  std::vector<int32_t> row;
  blocks.extend_by_known(tokens, row);
  return row;
}

TEST(KvBlocks, TheLastTokenIsNeverCovered) {
  KvBlocks blocks(8, 2);
  const std::vector<int32_t> row = add_row(blocks, {1, 2, 3, 4});
  EXPECT_EQ(known(blocks, {1, 2, 3, 4}), (std::vector<int32_t>{row[0]}));
  EXPECT_EQ(known(blocks, {1, 2, 3, 4, 5}), row);
  EXPECT_EQ(known(blocks, {1}), (std::vector<int32_t>{}));
}

TEST(KvBlocks, EqualTokensAfterOtherBeginningsAreOtherContent) {
  KvBlocks blocks(8, 2);
  const std::vector<int32_t> a = add_row(blocks, {1, 1, 7, 7});
  const std::vector<int32_t> b = add_row(blocks, {2, 2, 7, 7});
  EXPECT_EQ(known(blocks, {1, 1, 7, 7, 0}), a);
  EXPECT_EQ(known(blocks, {2, 2, 7, 7, 0}), b);
  EXPECT_TRUE(known(blocks, {7, 7, 0}).empty());
}

TEST(KvBlocks, BeginningsAreCachedLongest) {
  KvBlocks blocks(3, 2);
  const std::vector<int32_t> row = add_row(blocks, {1, 2, 3, 4, 5, 6});
  blocks.release(row);
  EXPECT_EQ(blocks.available(), 3);
  EXPECT_EQ(blocks.take(), row[2]);
  EXPECT_EQ(known(blocks, {1, 2, 3, 4, 5, 6, 7}), (std::vector<int32_t>{row[0], row[1]}));
  EXPECT_EQ(blocks.available(), 0);
  EXPECT_THROW(blocks.take(), InternalError);
}

TEST(KvBlocks, WhatIsKnownElsewhereStaysTheRowsOwn) {
  KvBlocks blocks(8, 2);
  const std::vector<int32_t> first = add_row(blocks, {1, 2});
  const std::vector<int32_t> second = add_row(blocks, {1, 2, 3, 4});
  EXPECT_TRUE(blocks.is_sealed(first[0]));
  EXPECT_FALSE(blocks.is_sealed(second[0]));
  EXPECT_EQ(known(blocks, {1, 2, 3, 4, 5}), (std::vector<int32_t>{first[0], second[1]}))
      << "it goes on from either";
}

TEST(KvBlocks, ForgetsWhatWasLost) {
  KvBlocks blocks(4, 2);
  const std::vector<int32_t> row = add_row(blocks, {1, 2, 3, 4});
  EXPECT_THROW(blocks.forget(), InternalError) << "held";
  blocks.release(row);
  blocks.forget();
  EXPECT_TRUE(known(blocks, {1, 2, 3}).empty());
  EXPECT_EQ(blocks.available(), 4);
}

}  // namespace
}  // namespace zerostream
