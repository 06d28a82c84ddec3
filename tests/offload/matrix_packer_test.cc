#include "offload/matrix_packer.h"

#include <gtest/gtest.h>

#include <vector>

#include "offload/segment_layout.h"
#include "tests/offload/random_checkpoint.h"
#include "tests/support/temp_dir.h"

namespace zerostream {
namespace {

std::vector<std::byte> pack_in_steps(const WeightSource& weights, const MatrixSpec& spec,
                                     const StoredMatrix& run, int threads, int64_t step) {
  MatrixPacker packer(weights, threads);
  const int64_t panels = run.weight(nullptr).panels();
  std::vector<std::byte> packed(static_cast<size_t>(panels * stored_panel_bytes(run)));
  for (int64_t panel = 0; panel < panels; panel += step) {
    packer.pack(spec, run, panel, std::min(panel + step, panels),
                packed.data() + panel * stored_panel_bytes(run));
  }
  packed.resize(static_cast<size_t>(run.bytes()));
  return packed;
}

constexpr StoreFormat kFormats[] = {
    {.dtype = DType::kBF16, .compute_dtype = DType::kBF16},
    {.dtype = DType::kBF16, .compute_dtype = DType::kBF16, .layout = WeightLayout::kRows},
    {.dtype = DType::kI8, .compute_dtype = DType::kF16, .group_size = 32},
    {.dtype = DType::kI4,
     .compute_dtype = DType::kBF16,
     .group_size = 128,
     .has_zeros = true,
     .quantised_head = true}};

TEST(MatrixPackerTest, ThreadsAndStepsDoNotMatter) {
  for (const Json& config : {odd_llama_config(), odd_gpt2_config()}) {
    const TempDir dir;
    const RandomCheckpoint random = make_random_checkpoint(config);
    random.write(dir.file("model"));
    const Checkpoint checkpoint = Checkpoint::open(dir.file("model"));
    const WeightSource weights = checkpoint_weights(checkpoint);
    for (const StoreFormat& format : kFormats) {
      const SegmentLayout segments = layout_segments(random.specs, format, 64 << 10);
      size_t spec = 0;
      for (const Segment& segment : segments.segments) {
        for (const StoredMatrix& run : segment.matrices) {
          const MatrixSpec& matrix = random.specs.matrices[spec];
          const auto whole = pack_in_steps(weights, matrix, run, 1, 1000);
          EXPECT_EQ(whole, pack_in_steps(weights, matrix, run, 3, 1000)) << segment.name;
          EXPECT_EQ(whole, pack_in_steps(weights, matrix, run, 1, 1)) << segment.name;
          EXPECT_EQ(whole, pack_in_steps(weights, matrix, run, 2, 3)) << segment.name;
          if (run.output_begin + run.outputs == matrix.outputs) ++spec;
        }
      }
      EXPECT_EQ(spec, random.specs.matrices.size());
    }
  }
}

// Sources that end inside of panels, that begin inside of tensors, and that are zeros.
TEST(MatrixPackerTest, SourcesFollowOneAnother) {
  WeightSource weights;
  weights.read_rows = [](const SourceTensor& source, int64_t inputs, int64_t begin, int64_t rows,
                         float* target) {
    for (int64_t i = 0; i < rows * inputs; ++i) {
      target[i] = static_cast<float>((source.name == "b" ? 1000 : 0) + source.row_begin + begin +
                                     i / inputs);
    }
  };
  const MatrixSpec spec = {MatrixRole::kQkv,
                           0,
                           150,
                           1,
                           false,
                           {{"a", false, 7, 50}, {"", false, 0, 30}, {"b", false, 0, 70}}};
  StoredMatrix run;
  run.inputs = 1;
  run.outputs = 150;
  const auto packed = pack_in_steps(weights, spec, run, 2, 1000);
  for (int64_t output = 0; output < 150; ++output) {
    const float expected = output < 50 ? 7 + output : output < 80 ? 0 : 1000 + output - 80;
    EXPECT_EQ(stored_value(run, packed.data(), output, 0), expected) << output;
  }
}

}  // namespace
}  // namespace zerostream
