#include "model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "zerostream/error.h"

namespace zerostream {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kGolden = ZS_TEST_DATA;

ModelConfig golden(const std::string& name) {
  const std::string path = kGolden + "/" + name + "/config.json";
  return parse_model_config(read_json_file(path), path);
}

Json llama(const Json& changes = Json::object()) {
  Json config = {{"model_type", "llama"},    {"vocab_size", 100},      {"hidden_size", 64},
                 {"intermediate_size", 172}, {"num_hidden_layers", 2}, {"num_attention_heads", 4}};
  config.update(changes);
  return config;
}

Json without(Json config, const std::string& key) {
  config.erase(key);
  return config;
}

std::string in_quotes(std::string_view key) {
  std::string text = "\"";
  text += key;
  text += '"';
  return text;
}

ModelConfig parse(const Json& config) { return parse_model_config(config, "config.json"); }

std::string error_of(const Json& config) {
  try {
    parse(config);
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "";
}

TEST(ModelConfig, Gpt2) {
  const ModelConfig config = golden("gpt2");
  EXPECT_EQ(config.hidden_size, 36);
  EXPECT_EQ(config.intermediate_size, 4 * 36);
  EXPECT_EQ(config.head_dim, 12);
  EXPECT_EQ(config.num_key_value_heads, 3);
  EXPECT_EQ(config.layers.size(), 2u);
  EXPECT_EQ(config.norm, NormKind::kLayerNorm);
  EXPECT_EQ(config.position, PositionKind::kLearned);
  EXPECT_EQ(config.position_offset, 0);
  EXPECT_EQ(config.mlp, MlpKind::kPlain);
  EXPECT_EQ(config.activation, Activation::kGeluTanh);
  EXPECT_TRUE(config.tie_word_embeddings && config.qkv_bias && config.final_norm);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(100));
  EXPECT_EQ(golden("gpt2-inner").intermediate_size, 70);
  EXPECT_EQ(golden("gpt2-inner").activation, Activation::kRelu);
}

TEST(ModelConfig, Gpt2WithTheCommonSpelling) {
  const ModelConfig config = parse({{"model_type", "gpt2"},
                                    {"vocab_size", 10},
                                    {"hidden_size", 8},
                                    {"num_hidden_layers", 1},
                                    {"num_attention_heads", 2},
                                    {"max_position_embeddings", 77}});
  EXPECT_EQ(config.hidden_size, 8);
  EXPECT_EQ(config.max_position_embeddings, 77);
}

TEST(ModelConfig, Opt) {
  const ModelConfig pre = golden("opt-pre");
  EXPECT_EQ(pre.norm_place, NormPlace::kPre);
  EXPECT_TRUE(pre.final_norm);
  EXPECT_EQ(pre.embedding_size, pre.hidden_size);
  EXPECT_EQ(pre.position_offset, 2);
  EXPECT_EQ(pre.activation, Activation::kRelu);
  EXPECT_FLOAT_EQ(pre.norm_epsilon, 1e-5f);
  const ModelConfig post = golden("opt-post");
  EXPECT_EQ(post.norm_place, NormPlace::kPost);
  EXPECT_FALSE(post.final_norm);
  EXPECT_EQ(post.embedding_size, 24);
  EXPECT_EQ(post.hidden_size, 40);
}

TEST(ModelConfig, LlamaFamily) {
  const ModelConfig bias = golden("llama-bias");
  EXPECT_TRUE(bias.qkv_bias && bias.attention_out_bias && bias.mlp_bias);
  EXPECT_EQ(bias.activation, Activation::kGelu);
  const ModelConfig mistral = golden("mistral");
  EXPECT_EQ(mistral.layers[0].sliding_window, 9);
  EXPECT_EQ(mistral.layers[1].sliding_window, 9);
  EXPECT_EQ(mistral.head_dim, 12);
  EXPECT_EQ(mistral.query_size(), 48);
  EXPECT_EQ(mistral.qkv_size(), 96);
  const ModelConfig qwen2 = golden("qwen2");
  EXPECT_TRUE(qwen2.qkv_bias && qwen2.tie_word_embeddings);
  EXPECT_FALSE(qwen2.attention_out_bias);
  EXPECT_EQ(qwen2.layers[0].sliding_window, 0);
  EXPECT_THAT(qwen2.eos_token_ids, ElementsAre(3, 5));
  EXPECT_THAT(qwen2.bos_token_ids, IsEmpty());
  const ModelConfig qwen3 = golden("qwen3");
  EXPECT_TRUE(qwen3.qk_norm);
  EXPECT_FALSE(qwen3.qkv_bias);
  EXPECT_EQ(qwen3.head_dim, 20);
}

TEST(ModelConfig, WindowsOfQwenBeginAtMaxWindowLayers) {
  const ModelConfig explicit_types = golden("qwen2-window");
  EXPECT_EQ(explicit_types.layers[0].sliding_window, 0);
  EXPECT_EQ(explicit_types.layers[1].sliding_window, 7);
  Json changes = {{"model_type", "qwen2"},
                  {"num_key_value_heads", 2},
                  {"sliding_window", 7},
                  {"max_window_layers", 1}};
  EXPECT_EQ(parse(llama(changes)).layers[1].sliding_window, 0);
  changes["use_sliding_window"] = true;
  EXPECT_EQ(parse(llama(changes)).layers[0].sliding_window, 0);
  EXPECT_EQ(parse(llama(changes)).layers[1].sliding_window, 7);
}

TEST(ModelConfig, AbsentFieldsHaveTheFamilysDefaults) {
  const ModelConfig config = parse(llama());
  EXPECT_EQ(config.num_key_value_heads, 4);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.max_position_embeddings, 2048);
  EXPECT_FLOAT_EQ(config.norm_epsilon, 1e-6f);
  EXPECT_FALSE(config.tie_word_embeddings);
  EXPECT_FLOAT_EQ(config.rope.inverse_frequencies[1], 0.31622777f);
  const Json mistral = llama({{"model_type", "mistral"}, {"num_attention_heads", 16}});
  EXPECT_EQ(parse(mistral).num_key_value_heads, 8);
  EXPECT_EQ(parse(mistral).layers[0].sliding_window, 4096);
  Json null = mistral;
  null["sliding_window"] = nullptr;
  null["num_key_value_heads"] = nullptr;
  EXPECT_EQ(parse(null).layers[0].sliding_window, 0);
  EXPECT_EQ(parse(null).num_key_value_heads, 16);
  EXPECT_EQ(parse(llama({{"model_type", "qwen3"}, {"num_key_value_heads", 4}})).head_dim, 128);
}

// Frequencies as transformers computes them, from both spellings of the settings.
TEST(ModelConfig, RopeFrequencies) {
  const Json cases = read_json_file(kGolden + "/rope.json");
  ASSERT_GE(cases.size(), 16u);
  for (const Json& entry : cases) {
    const ModelConfig config = parse(entry.at("config"));
    const auto expected = entry.at("inverse_frequencies").get<std::vector<float>>();
    ASSERT_EQ(config.rope.inverse_frequencies.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i)
      EXPECT_NEAR(config.rope.inverse_frequencies[i] / expected[i], 1.0, 3e-7)
          << entry.at("config").dump() << " at " << i;
    EXPECT_FLOAT_EQ(config.rope.attention_factor, entry.at("attention_factor").get<float>());
  }
}

TEST(ModelConfig, UnknownArchitecturesAreRefusedByName) {
  EXPECT_THAT(error_of(llama({{"model_type", "mamba"}})),
              AllOf(HasSubstr("config.json"), HasSubstr("\"mamba\""), HasSubstr("gpt2, llama")));
  EXPECT_THAT(error_of(without(llama(), "model_type")), HasSubstr("\"model_type\""));
  EXPECT_THAT(error_of(llama({{"architectures", {"LlamaForSequenceClassification"}}})),
              HasSubstr("LlamaForSequenceClassification"));
  EXPECT_EQ(error_of(llama({{"architectures", {"LlamaForCausalLM"}}})), "");
}

TEST(ModelConfig, MissingAndBadFieldsAreNamed) {
  for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                          "num_attention_heads"})
    EXPECT_THAT(error_of(without(llama(), key)),
                AllOf(HasSubstr(in_quotes(key)), HasSubstr("missing")));
  const std::vector<std::pair<std::string, Json>> bad = {
      {"num_hidden_layers", 1000000000},
      {"num_hidden_layers", 0},
      {"num_attention_heads", 0},
      {"num_attention_heads", -4},
      {"num_attention_heads", "4"},
      {"num_key_value_heads", 3},
      {"hidden_size", 63},
      {"hidden_size", 64.5},
      {"hidden_size", 18446744073709551615u},
      {"head_dim", 15},
      {"vocab_size", true},
      {"rms_norm_eps", 0},
      {"rms_norm_eps", "1e-5"},
      {"hidden_act", "xielu"},
      {"tie_word_embeddings", 1},
      {"eos_token_id", "</s>"},
      {"rope_theta", -1},
      {"layer_types", Json::array({"full_attention"})},
      {"layer_types", Json::array({"full_attention", "linear_attention"})},
      {"layer_types", Json::array({"full_attention", "sliding_attention"})}};
  for (const auto& [key, value] : bad)
    EXPECT_THAT(error_of(llama({{key, value}})), HasSubstr(in_quotes(key))) << value.dump();
}

TEST(ModelConfig, FieldsThatWouldChangeTheResultAreRefused) {
  const std::vector<std::pair<std::string, Json>> bad = {
      {"quantization_config", {{"quant_method", "gptq"}}},
      {"attn_logit_softcapping", 50.0},
      {"partial_rotary_factor", 0.5},
      {"num_local_experts", 8},
      {"residual_multiplier", 0.22},
      {"is_encoder_decoder", true}};
  for (const auto& [key, value] : bad)
    EXPECT_THAT(error_of(llama({{key, value}})), HasSubstr(in_quotes(key)));
  EXPECT_EQ(error_of(llama({{"attn_logit_softcapping", nullptr},
                            {"partial_rotary_factor", 1.0},
                            {"num_local_experts", 0},
                            {"is_encoder_decoder", false},
                            {"torch_dtype", "bfloat16"},
                            {"pretraining_tp", 2},
                            {"some_tool_version", "1.2"}})),
            "");
  for (const char* type : {"dynamic", "longrope", "mrope", "su"}) {
    EXPECT_THAT(error_of(llama({{"rope_scaling", {{"type", type}, {"factor", 2.0}}}})),
                AllOf(HasSubstr("rope_scaling.type"), HasSubstr(type)));
    EXPECT_THAT(error_of(llama({{"rope_parameters", {{"rope_type", type}, {"factor", 2.0}}}})),
                AllOf(HasSubstr("rope_parameters.rope_type"), HasSubstr(type)));
  }
  EXPECT_THAT(error_of(llama({{"rope_scaling", {{"type", "linear"}}}})),
              HasSubstr("rope_scaling.factor"));
  EXPECT_THAT(error_of(llama({{"rope_scaling", "linear"}})), HasSubstr("rope_scaling"));
  Json gpt2 = read_json_file(kGolden + "/gpt2/config.json");
  gpt2["scale_attn_by_inverse_layer_idx"] = true;
  EXPECT_THAT(error_of(gpt2), HasSubstr("scale_attn_by_inverse_layer_idx"));
  EXPECT_THAT(error_of(Json::array()), HasSubstr("config.json: expected an object"));
}

TEST(ModelConfig, TokenIdsOutsideTheVocabularyAreDropped) {
  EXPECT_THAT(parse(llama({{"eos_token_id", {7, 100, -1}}})).eos_token_ids, ElementsAre(7));
  EXPECT_THAT(parse(llama({{"eos_token_id", 50256}})).eos_token_ids, IsEmpty());
}

}  // namespace
}  // namespace zerostream
