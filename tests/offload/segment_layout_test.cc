#include "offload/segment_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "zerostream/error.h"

namespace zerostream {
namespace {

using testing::ElementsAre;

constexpr int64_t kKiB = 1024;
constexpr StoreFormat kBf16 = {.dtype = DType::kBF16, .compute_dtype = DType::kBF16};

MatrixSpec matrix(MatrixRole role, int32_t layer, int64_t outputs, int64_t inputs,
                  bool gated = false) {
  return {role, layer, outputs, inputs, gated, {}};
}

// hidden 64, intermediate 320 (gated), vocabulary 1000: an fp32 panel of 64 inputs is 16 KiB.
WeightSpecs small_model(int layers) {
  WeightSpecs specs;
  specs.matrices.push_back(matrix(MatrixRole::kTokenEmbedding, kNoLayer, 1000, 64));
  for (int32_t layer = 0; layer < layers; ++layer) {
    specs.matrices.push_back(matrix(MatrixRole::kQkv, layer, 192, 64));
    specs.matrices.push_back(matrix(MatrixRole::kAttentionOut, layer, 64, 64));
    specs.matrices.push_back(matrix(MatrixRole::kMlpUp, layer, 320, 64, true));
    specs.matrices.push_back(matrix(MatrixRole::kMlpDown, layer, 64, 320));
    specs.vectors.push_back({VectorRole::kAttentionNormWeight, layer, 65, false, {}});
    specs.vectors.push_back({VectorRole::kMlpUpBias, layer, 100, true, {}});
  }
  specs.matrices.push_back(matrix(MatrixRole::kHead, kNoLayer, 1000, 64));
  return specs;
}

std::vector<std::string> names(const SegmentLayout& layout) {
  std::vector<std::string> names;
  for (const Segment& segment : layout.segments) names.push_back(segment.name);
  return names;
}

const Segment& named(const SegmentLayout& layout, const std::string& name) {
  for (const Segment& segment : layout.segments) {
    if (segment.name == name) return segment;
  }
  throw std::out_of_range(name);
}

// What holds for every layout: aligned, no gaps, within the limit, every matrix whole.
void expect_sound(const SegmentLayout& layout, const WeightSpecs& specs, int64_t max_bytes) {
  int64_t end = layout.vectors_segment.bytes;
  size_t spec = 0;
  int64_t outputs = 0;
  for (const Segment& segment : layout.segments) {
    EXPECT_EQ(segment.offset, end) << segment.name;
    EXPECT_EQ(segment.offset % 4096, 0);
    EXPECT_EQ(segment.bytes % 4096, 0);
    EXPECT_LE(segment.bytes, max_bytes) << segment.name;
    end += segment.bytes;
    int64_t used = 0;
    for (const StoredMatrix& run : segment.matrices) {
      ASSERT_LT(spec, specs.matrices.size());
      EXPECT_EQ(run.role, specs.matrices[spec].role);
      EXPECT_EQ(run.layer, specs.matrices[spec].layer);
      EXPECT_EQ(run.output_begin, outputs);
      EXPECT_EQ(run.output_begin % 64, 0);
      EXPECT_EQ(run.offset % 4096, 0);
      EXPECT_GE(run.offset, used);
      used = run.offset + run.bytes();
      EXPECT_LE(used, segment.bytes);
      outputs += run.outputs;
      if (outputs < specs.matrices[spec].outputs) continue;
      EXPECT_EQ(outputs, specs.matrices[spec].outputs);
      ++spec;
      outputs = 0;
    }
  }
  EXPECT_EQ(spec, specs.matrices.size());
  EXPECT_EQ(layout.file_bytes, end);
}

TEST(SegmentLayoutTest, ALayerIsTwoSegmentsWhenTheyFit) {
  const WeightSpecs specs = small_model(2);
  const SegmentLayout layout = layout_segments(specs, {});
  EXPECT_THAT(names(layout), ElementsAre("token_embedding", "layers.0.attention", "layers.0.mlp",
                                         "layers.1.attention", "layers.1.mlp", "head"));
  expect_sound(layout, specs, kMaxSegmentBytes);
  const Segment& mlp = named(layout, "layers.1.mlp");
  EXPECT_EQ(mlp.matrices[0].bytes(), 10 * 16 * kKiB);  // 5 pairs of panels
  EXPECT_EQ(mlp.matrices[1].offset, 10 * 16 * kKiB);
  EXPECT_EQ(mlp.bytes, 15 * 16 * kKiB);
}

TEST(SegmentLayoutTest, LargeGroupsAreCutIntoEvenPiecesAtPanels) {
  const WeightSpecs specs = small_model(1);
  const int64_t max_bytes = 100 * kKiB;
  const SegmentLayout layout = layout_segments(specs, {}, max_bytes);
  expect_sound(layout, specs, max_bytes);
  EXPECT_THAT(names(layout),
              ElementsAre("token_embedding.0", "token_embedding.1", "token_embedding.2",
                          "layers.0.attention", "layers.0.mlp.up.0", "layers.0.mlp.up.1",
                          "layers.0.mlp.down", "head.0", "head.1", "head.2"));
  EXPECT_EQ(named(layout, "layers.0.mlp.up.0").matrices[0].outputs, 128);
  EXPECT_EQ(named(layout, "layers.0.mlp.up.1").matrices[0].outputs, 192);
  EXPECT_EQ(named(layout, "head.0").matrices[0].outputs, 320);
  EXPECT_EQ(named(layout, "head.2").matrices[0].outputs, 1000 - 640);
}

TEST(SegmentLayoutTest, AnyLimitFromOneUnitUpGivesASoundLayout) {
  const WeightSpecs specs = small_model(1);
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const WeightLayout kind : {WeightLayout::kTile64, WeightLayout::kRows}) {
      for (int64_t max_bytes = 80 * kKiB; max_bytes < 300 * kKiB; max_bytes += 4 * kKiB) {
        const SegmentLayout layout = layout_segments(
            specs, {.dtype = dtype, .compute_dtype = dtype, .layout = kind}, max_bytes);
        expect_sound(layout, specs, max_bytes);
      }
    }
  }
}

constexpr StoreFormat kInt4 = {
    .dtype = DType::kI4, .compute_dtype = DType::kBF16, .group_size = 32, .has_zeros = true};

TEST(SegmentLayoutTest, OnlyMatricesOfLayersAreQuantised) {
  WeightSpecs specs = small_model(2);
  specs.matrices.insert(specs.matrices.begin() + 1,
                        matrix(MatrixRole::kProjectIn, kNoLayer, 64, 64));
  const SegmentLayout layout = layout_segments(specs, kInt4);
  expect_sound(layout, specs, kMaxSegmentBytes);
  for (const Segment& segment : layout.segments) {
    for (const StoredMatrix& run : segment.matrices) {
      const bool quantised = run.layer != kNoLayer;
      EXPECT_EQ(run.dtype, quantised ? DType::kI4 : DType::kBF16) << segment.name;
      EXPECT_EQ(run.group_size, quantised ? 32 : 0) << segment.name;
      EXPECT_EQ(run.has_zeros, quantised) << segment.name;
      EXPECT_EQ(run.weight(nullptr).group_size, run.group_size);
    }
  }
  // Per panel a tile of 128 inputs and a page for the table of 2 groups; down: 3 tiles, 10 groups.
  EXPECT_EQ(named(layout, "layers.0.attention").bytes, (3 + 1) * 8 * kKiB);
  EXPECT_EQ(named(layout, "layers.0.mlp").bytes, (10 * 8 + 3 * 4 + 4) * kKiB);
  EXPECT_EQ(named(layout, "head").bytes, 16 * 8 * kKiB);
}

TEST(SegmentLayoutTest, TheHeadIsQuantisedIfAsked) {
  StoreFormat format = kInt4;
  format.quantised_head = true;
  const SegmentLayout layout = layout_segments(small_model(1), format);
  EXPECT_EQ(named(layout, "head").matrices[0].dtype, DType::kI4);
  EXPECT_EQ(named(layout, "token_embedding").matrices[0].dtype, DType::kBF16);
}

TEST(SegmentLayoutTest, QuantisedSegmentsAreCutAtPanels) {
  const WeightSpecs specs = small_model(1);
  for (const DType dtype : {DType::kI8, DType::kI4}) {
    for (const int32_t group_size : {32, 64, 128}) {
      for (const bool has_zeros : {false, true}) {
        for (int64_t max_bytes = 24 * kKiB; max_bytes < 100 * kKiB; max_bytes += 4 * kKiB) {
          expect_sound(layout_segments(specs,
                                       {.dtype = dtype,
                                        .compute_dtype = DType::kF16,
                                        .group_size = group_size,
                                        .has_zeros = has_zeros},
                                       max_bytes),
                       specs, max_bytes);
        }
      }
    }
  }
}

TEST(SegmentLayoutTest, NamesOfFormats) {
  EXPECT_EQ(format_name(kBf16), "bf16");
  EXPECT_EQ(format_name({.dtype = DType::kI8, .group_size = 64}), "int8-g64");
  StoreFormat format = kInt4;
  format.quantised_head = true;
  EXPECT_EQ(format_name(format), "int4-g32-asymmetric-head");
}

TEST(SegmentLayoutTest, MistralsMlpBecomesEqualPieces) {
  WeightSpecs specs;
  specs.matrices.push_back(matrix(MatrixRole::kMlpUp, 0, 14336, 4096, true));
  specs.matrices.push_back(matrix(MatrixRole::kMlpDown, 0, 4096, 14336));
  const SegmentLayout layout = layout_segments(specs, kBf16);
  EXPECT_THAT(names(layout),
              ElementsAre("layers.0.mlp.up.0", "layers.0.mlp.up.1", "layers.0.mlp.up.2",
                          "layers.0.mlp.up.3", "layers.0.mlp.down.0", "layers.0.mlp.down.1"));
  for (const Segment& segment : layout.segments) EXPECT_EQ(segment.bytes, int64_t{56} << 20);
}

TEST(SegmentLayoutTest, EmbeddingsAreRowsInEveryLayout) {
  const WeightSpecs specs = small_model(1);
  const SegmentLayout layout = layout_segments(specs, kBf16);
  const StoredMatrix& embedding = named(layout, "token_embedding").matrices[0];
  EXPECT_EQ(embedding.layout, WeightLayout::kRows);
  EXPECT_EQ(embedding.bytes(), 1000 * 64 * 2);
  EXPECT_EQ(named(layout, "head").matrices[0].layout, WeightLayout::kTile64);
}

TEST(SegmentLayoutTest, VectorsAreFp32AlignedAndFirst) {
  const SegmentLayout layout = layout_segments(small_model(1), kBf16);
  EXPECT_EQ(layout.vectors_segment.offset, 0);
  EXPECT_EQ(layout.vectors_segment.bytes, 4096);
  ASSERT_EQ(layout.vectors.size(), 2u);
  EXPECT_EQ(layout.vectors[0].size, 65);
  EXPECT_EQ(layout.vectors[1].size, 256);  // gated: 2 * round_up(100, 64)
  EXPECT_EQ(layout.vectors[1].offset, 320);
}

TEST(SegmentLayoutTest, APanelMayBeLargerThanPackingsSegmentsButNotThanAnySegment) {
  WeightSpecs specs;
  specs.matrices.push_back(matrix(MatrixRole::kMlpDown, 0, 128, 1 << 20));
  EXPECT_EQ(layout_segments(specs, kBf16).segments.size(), 2u);
  specs.matrices.front().inputs *= 4;
  try {
    layout_segments(specs, kBf16);
    FAIL();
  } catch (const CheckpointError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("layers.0.mlp.down"));
  }
}

}  // namespace
}  // namespace zerostream
