#include "offload/cost_model.h"

#include <gtest/gtest.h>

#include "tests/offload/planning_case.h"

namespace zerostream {
namespace {

constexpr double kClose = 1e-9;

class CostModelTest : public testing::Test {
 protected:
  CostModel costs(const CostOptions& options = {}) const { return {layout_, profile_, options}; }
  const StoredMatrix& matrix(MatrixRole role) const {
    for (const Segment& segment : layout_.segments)
      for (const StoredMatrix& matrix : segment.matrices)
        if (matrix.role == role) return matrix;
    throw std::out_of_range("role");
  }

  ModelLayout layout_ = shape_layout("bench/mistral-7b-shape");
  HardwareProfile profile_ = plain_cuda();
};

TEST_F(CostModelTest, ShapesAddUpRows) {
  PassShape pass = PassShape::decode(3, 100);
  pass.add_row(20, 10, true);
  pass.add_row(0, 5, false);
  EXPECT_EQ(pass, (PassShape{.rows = 5,
                             .tokens = 18,
                             .logit_rows = 4,
                             .context_tokens = 335,
                             .seen_tokens = 300 + 10 * 20 + 55 + 15}));
}

TEST_F(CostModelTest, ProductsGoByTheirRows) {
  PassShape pass = PassShape::decode(32, 10);
  pass.add_row(0, 96, false);
  const StoredMatrix& down = matrix(MatrixRole::kMlpDown);
  EXPECT_NEAR(costs().apply_seconds(down, pass), 2.0 * 128 * 4096 * 14336 / 1e12, kClose);
  const StoredMatrix& head = matrix(MatrixRole::kHead);  // of the 32 rows that draw a token
  EXPECT_NEAR(costs().apply_seconds(head, pass),
              2.0 * 64 * static_cast<double>(head.outputs) * 4096 / 1e12, kClose);
  pass.logit_rows = 0;
  EXPECT_EQ(costs().apply_seconds(head, pass), 0);
  const StoredMatrix& up = matrix(MatrixRole::kMlpUp);  // gate and up
  EXPECT_NEAR(costs().apply_seconds(up, pass),
              2.0 * 128 * 2 * static_cast<double>(up.outputs) * 4096 / 1e12, kClose);
  profile_.compute.launch_seconds = 1;
  EXPECT_NEAR(costs().apply_seconds(down, pass), 1 + 2.0 * 128 * 4096 * 14336 / 1e12, kClose);
}

TEST_F(CostModelTest, FlopsAreThoseOfTheLayersAndTheHead) {
  const double layer = 4096.0 * (4096 + 2 * 1024) + 4096.0 * 4096 + 3 * 4096.0 * 14336;
  EXPECT_NEAR(costs().flops(PassShape::decode(10, 5)), 2.0 * 10 * (32 * layer + 32000.0 * 4096),
              1e6);
}

TEST_F(CostModelTest, StorageAndLinkAreSharedAsTheProfileSays) {
  EXPECT_NEAR(costs().read_seconds(2e9), 1, kClose);
  EXPECT_NEAR(costs().upload_seconds(10e9), 1, kClose);
  EXPECT_EQ(costs().gather_seconds(10e9), 0);
  // Four ranks: each fetches a quarter over a link of its own; storage has no more to give.
  EXPECT_NEAR(costs({.ranks = 4}).read_seconds(2e9), 1, kClose);
  EXPECT_NEAR(costs({.ranks = 4}).upload_seconds(10e9), 0.25, kClose);
  EXPECT_NEAR(costs({.ranks = 4}).gather_seconds(100e9), 0.75, kClose);
  profile_.link->sharing = {1, 0.9, 0.8, 0.7};
  profile_.storage->sharing = {1, 0.75, 0.6, 0.5};
  EXPECT_NEAR(costs({.ranks = 4}).upload_seconds(28e9), 1, kClose);
  EXPECT_NEAR(costs({.ranks = 2}).read_seconds(3e9), 1, kClose);
  profile_.link.reset();
  EXPECT_EQ(costs().upload_seconds(10e9), 0);
}

TEST_F(CostModelTest, UploadsWaitForDownloadsAsTheLinkSays) {
  EXPECT_EQ(costs().upload_delay_seconds(10e9), 0);
  profile_.link->both_ways.median = 20e9;  // as much as both alone
  EXPECT_EQ(costs().upload_delay_seconds(10e9), 0);
  profile_.link->both_ways.median = 12.5e9;
  EXPECT_NEAR(costs().upload_delay_seconds(10e9), 0.75, kClose);
  profile_.link->both_ways.median = 9e9;
  EXPECT_NEAR(costs().upload_delay_seconds(10e9), 1, kClose);
}

TEST_F(CostModelTest, AttentionIsBoundByBytesOrByArithmetic) {
  const CostModel model = costs({.kv_dtype = DType::kF16});
  const PassShape decode = PassShape::decode(64, 1000);
  const double bytes = 64 * 1000 * 2 * 1024 * 2.0;
  EXPECT_EQ(model.kv_read_bytes(0, decode), static_cast<int64_t>(bytes));
  EXPECT_NEAR(model.attend_seconds(0, decode, 1), bytes / 20e9, kClose);
  EXPECT_NEAR(model.attend_seconds(0, decode, 4), bytes / 20e9 / 4, kClose);
  PassShape prompt;
  prompt.add_row(0, 4000, true);
  const double flops = 4.0 * 4000 * 4001 / 2 * 4096;
  EXPECT_NEAR(model.attend_seconds(0, prompt, 1), flops / 1e12, 1e-6);
  profile_.compute.prompt_attention.median = 4e12;
  EXPECT_NEAR(costs({.kv_dtype = DType::kF16}).attend_seconds(0, prompt, 1), flops / 4e12, 1e-6);
}

TEST_F(CostModelTest, ProductsGoByTheLayoutOfTheirWeights) {
  const PassShape pass = PassShape::decode(64, 10);
  StoredMatrix down = matrix(MatrixRole::kMlpDown);
  const double tiles = costs().apply_seconds(down, pass);
  GemmRates rates = profile_.compute.gemm.front();
  rates.layout = WeightLayout::kRows;
  for (GemmRates::Point& point : rates.points) point.flops.median *= 2;
  profile_.compute.gemm.push_back(rates);
  EXPECT_EQ(costs().apply_seconds(down, pass), tiles);
  down.layout = WeightLayout::kRows;
  EXPECT_NEAR(costs().apply_seconds(down, pass), tiles / 2, kClose);
}

TEST_F(CostModelTest, SlidingWindowsBoundWhatIsRead) {
  const CostModel model = costs();
  const PassShape wide = PassShape::decode(2, 8192);
  EXPECT_EQ(model.kv_read_bytes(0, wide), model.kv_read_bytes(0, PassShape::decode(2, 4096)));
}

TEST_F(CostModelTest, KeysAndValuesInInt8TakeHalf) {
  const PassShape pass = PassShape::decode(16, 160);
  const auto half = static_cast<double>(costs({.kv_dtype = DType::kI8}).kv_read_bytes(0, pass));
  const auto whole = static_cast<double>(costs({.kv_dtype = DType::kF16}).kv_read_bytes(0, pass));
  EXPECT_NEAR(half / whole, 0.53, 0.04);  // and scales
}

TEST_F(CostModelTest, EmbeddingRowsCostAPageEach) {
  profile_.storage->latency_seconds = 1e-4;
  EXPECT_NEAR(costs().embedding_read_seconds(1000), 1e-4 + 1000 * 8192 / 2e9, kClose);
}

}  // namespace
}  // namespace zerostream
