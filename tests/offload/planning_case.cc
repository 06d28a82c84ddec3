#include "tests/offload/planning_case.h"

#include <filesystem>

namespace zerostream {
namespace {

constexpr double kGB = 1e9;

StoredMatrix matrix(MatrixRole role, int32_t layer, int64_t outputs, int64_t inputs) {
  StoredMatrix made;
  made.role = role;
  made.layer = layer;
  made.dtype = DType::kBF16;
  made.inputs = inputs;
  made.outputs = outputs;
  return made;
}

void add_segment(ModelLayout& layout, const StoredMatrix& first, int count) {
  Segment segment;
  for (int i = 0; i < count; ++i) {
    segment.matrices.push_back(first);
    segment.bytes += first.bytes();
  }
  layout.segments.push_back(segment);
}

}  // namespace

std::string config_path(const std::string& name) {
  const auto root = std::filesystem::path(ZS_TEST_DATA).parent_path().parent_path();
  return (root / "configs" / name).string();
}

ModelLayout shape_layout(const std::string& name, const PackOptions& options) {
  const PlannedModel model = plan_model(config_path(name), options);
  return make_layout(model.layout.config, model.format, kMaxSegmentBytes);
}

HardwareProfile plain_cpu() {
  HardwareProfile profile;
  profile.name = "plain";
  profile.storage = HardwareProfile::Storage();
  profile.storage->read.median = 2 * kGB;
  profile.storage->write.median = 1 * kGB;
  profile.host = {.bytes = int64_t{24} << 30, .read = {.median = 20 * kGB}};
  profile.compute.memory = profile.host;
  profile.compute.attention.median = 20 * kGB;
  GemmRates rates;
  rates.points = {{1, {.median = 1e12 / 64}}, {64, {.median = 1e12}}};
  profile.compute.gemm = {rates};
  return profile;
}

HardwareProfile plain_cuda() {
  HardwareProfile profile = plain_cpu();
  profile.device = DeviceKind::kCuda;
  profile.compute.memory.bytes = int64_t{8} << 30;
  profile.link = HardwareProfile::Link();
  profile.link->to_device.median = 10 * kGB;
  profile.link->from_device.median = 10 * kGB;
  profile.peer_link = Rate{.median = 100 * kGB};
  return profile;
}

ModelLayout random_layout(std::mt19937& random) {
  ModelLayout layout;
  layout.config.hidden_size = 512;
  layout.config.vocab_size = 1000;
  layout.config.num_attention_heads = layout.config.num_key_value_heads = 8;
  layout.config.head_dim = 64;
  layout.config.max_position_embeddings = 4096;
  layout.config.num_hidden_layers = 1 + static_cast<int32_t>(random() % 5);
  layout.config.layers.resize(static_cast<size_t>(layout.config.num_hidden_layers));
  const auto size = [&] { return 64 * static_cast<int64_t>(1 + random() % 40); };
  for (int32_t layer = 0; layer < layout.config.num_hidden_layers; ++layer) {
    add_segment(layout, matrix(MatrixRole::kQkv, layer, size(), 512), 1);
    for (uint32_t piece = 0; piece <= random() % 3; ++piece)
      add_segment(layout, matrix(MatrixRole::kMlpUp, layer, size(), 512), 1 + random() % 2);
  }
  add_segment(layout, matrix(MatrixRole::kHead, kNoLayer, size(), 512), 1);
  return layout;
}

}  // namespace zerostream
