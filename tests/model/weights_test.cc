#include "model/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace zerostream {
namespace {

using ::testing::ElementsAre;

ModelConfig golden(const std::string& name) {
  const std::string path = std::string(ZS_TEST_DATA) + "/" + name + "/config.json";
  return parse_model_config(read_json_file(path), path);
}

const MatrixSpec& matrix(const WeightSpecs& specs, MatrixRole role, int32_t layer = kNoLayer) {
  const auto found = std::ranges::find_if(specs.matrices, [&](const MatrixSpec& spec) {
    return spec.role == role && spec.layer == layer;
  });
  if (found == specs.matrices.end()) throw std::out_of_range("no such matrix");
  return *found;
}

const VectorSpec* vector(const WeightSpecs& specs, VectorRole role, int32_t layer = kNoLayer) {
  const auto found = std::ranges::find_if(specs.vectors, [&](const VectorSpec& spec) {
    return spec.role == role && spec.layer == layer;
  });
  return found == specs.vectors.end() ? nullptr : &*found;
}

TEST(WeightSpecs, RolesHaveNamesOfTheirOwn) {
  EXPECT_EQ(matrix_role_name(MatrixRole::kTokenEmbedding), "token_embedding");
  EXPECT_EQ(matrix_role_name(MatrixRole::kHead), "head");
  EXPECT_EQ(vector_role_name(VectorRole::kAttentionNormWeight), "attention_norm_weight");
  EXPECT_EQ(vector_role_name(VectorRole::kHeadBias), "head_bias");
}

TEST(WeightSpecs, LlamaFusesQkvAndAlternatesGateAndUp) {
  const WeightSpecs specs = weight_specs(golden("llama-bias"));
  const MatrixSpec& qkv = matrix(specs, MatrixRole::kQkv, 1);
  EXPECT_EQ(qkv.outputs, 32 + 16 + 16);
  EXPECT_EQ(qkv.inputs, 32);
  ASSERT_EQ(qkv.sources.size(), 3u);
  EXPECT_EQ(qkv.sources[1].name, "model.layers.1.self_attn.k_proj.weight");
  EXPECT_EQ(qkv.sources[1].rows, 16);
  EXPECT_EQ(qkv.sources[1].row_begin, 0);
  const MatrixSpec& up = matrix(specs, MatrixRole::kMlpUp, 0);
  EXPECT_TRUE(up.gated);
  EXPECT_EQ(up.outputs, 72);
  EXPECT_EQ(up.sources[0].name, "model.layers.0.mlp.gate_proj.weight");
  EXPECT_EQ(up.sources[1].name, "model.layers.0.mlp.up_proj.weight");
  EXPECT_EQ(matrix(specs, MatrixRole::kMlpDown, 0).inputs, 72);
  EXPECT_EQ(vector(specs, VectorRole::kMlpUpBias, 0)->size, 72);
  EXPECT_TRUE(vector(specs, VectorRole::kMlpUpBias, 0)->gated);
  EXPECT_EQ(vector(specs, VectorRole::kAttentionOutBias, 0)->sources[0].name,
            "model.layers.0.self_attn.o_proj.bias");
  EXPECT_EQ(matrix(specs, MatrixRole::kHead).sources[0].name, "lm_head.weight");
}

TEST(WeightSpecs, MatricesComeInTheOrderOfAPass) {
  const WeightSpecs specs = weight_specs(golden("opt-post"));
  std::vector<MatrixRole> roles;
  for (const MatrixSpec& spec : specs.matrices)
    if (spec.layer <= 0) roles.push_back(spec.role);
  EXPECT_THAT(roles, ElementsAre(MatrixRole::kTokenEmbedding, MatrixRole::kPositionEmbedding,
                                 MatrixRole::kProjectIn, MatrixRole::kQkv,
                                 MatrixRole::kAttentionOut, MatrixRole::kMlpUp,
                                 MatrixRole::kMlpDown, MatrixRole::kProjectOut, MatrixRole::kHead));
  EXPECT_EQ(matrix(specs, MatrixRole::kProjectIn).outputs, 40);
  EXPECT_EQ(matrix(specs, MatrixRole::kProjectIn).inputs, 24);
  EXPECT_EQ(matrix(specs, MatrixRole::kHead).inputs, 24);
  EXPECT_EQ(matrix(specs, MatrixRole::kPositionEmbedding).outputs, 82);
  EXPECT_EQ(vector(specs, VectorRole::kFinalNormWeight), nullptr);
}

TEST(WeightSpecs, VariantsOfTheFamilies) {
  const WeightSpecs gpt2 = weight_specs(golden("gpt2"));
  EXPECT_TRUE(matrix(gpt2, MatrixRole::kQkv, 0).sources[0].transposed);
  EXPECT_EQ(matrix(gpt2, MatrixRole::kQkv, 0).sources[0].rows, 3 * 36);
  EXPECT_FALSE(matrix(gpt2, MatrixRole::kHead).sources[0].transposed);
  EXPECT_EQ(matrix(gpt2, MatrixRole::kHead).sources[0].name, "transformer.wte.weight");
  EXPECT_EQ(vector(gpt2, VectorRole::kFinalNormBias)->size, 36);
  const WeightSpecs qwen3 = weight_specs(golden("qwen3"));
  EXPECT_EQ(vector(qwen3, VectorRole::kQueryNorm, 1)->size, 20);
  EXPECT_EQ(vector(qwen3, VectorRole::kQkvBias, 1), nullptr);
  EXPECT_EQ(matrix(qwen3, MatrixRole::kAttentionOut, 0).inputs, 80);
  const WeightSpecs qwen2 = weight_specs(golden("qwen2"));
  EXPECT_EQ(vector(qwen2, VectorRole::kQkvBias, 1)->sources.size(), 3u);
  EXPECT_EQ(vector(qwen2, VectorRole::kAttentionOutBias, 1), nullptr);
  Json plain = read_json_file(std::string(ZS_TEST_DATA) + "/opt-pre/config.json");
  plain["enable_bias"] = false;
  plain["layer_norm_elementwise_affine"] = false;
  EXPECT_TRUE(weight_specs(parse_model_config(plain, "config.json")).vectors.empty());
}

TEST(WeightSpecs, NamesOfBareModelsGetTheirPrefix) {
  std::vector<std::string> names = {"h.0.attn.c_attn.bias", "h.0.attn.bias", "wte.weight",
                                    "lm_head.weight", "h.0.attn.masked_bias"};
  canonicalise_tensor_names("gpt2", names);
  EXPECT_THAT(names, ElementsAre("transformer.h.0.attn.c_attn.bias", "", "transformer.wte.weight",
                                 "lm_head.weight", ""));
  names = {"decoder.layers.0.fc1.weight"};
  canonicalise_tensor_names("opt", names);
  EXPECT_THAT(names, ElementsAre("model.decoder.layers.0.fc1.weight"));
  names = {"model.norm.weight", "score.weight", "model.layers.0.self_attn.rotary_emb.inv_freq"};
  canonicalise_tensor_names("llama", names);
  EXPECT_THAT(names, ElementsAre("model.norm.weight", "score.weight", ""));
  for (const char* name : {"decoder.norm.weight", "model.norm.weight", "norm.weight"}) {
    names = {name, "lm_head.weight", "decoder.version"};
    canonicalise_tensor_names("opt", names);
    EXPECT_THAT(names, ElementsAre("model.decoder.norm.weight", "lm_head.weight", ""));
  }
  names = {"h.0.ln_1.gamma", "h.0.ln_1.beta", "transformer.wte.weight"};
  canonicalise_tensor_names("gpt2", names);
  EXPECT_THAT(names, ElementsAre("h.0.ln_1.weight", "h.0.ln_1.bias", "transformer.wte.weight"));
  names = {"h.0.attn.bias"};
  canonicalise_tensor_names("unknown", names);
  EXPECT_THAT(names, ElementsAre("h.0.attn.bias"));
}

}  // namespace
}  // namespace zerostream
