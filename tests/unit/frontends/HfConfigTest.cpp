//===- HfConfigTest.cpp - Reference configurations --------------*- C++ -*-===//
#include "frontends/dsl/HfConfig.h"
#include "frontends/dsl/Frontend.h"
#include <gtest/gtest.h>

using namespace tidegate::dsl;

namespace {

// What the reference implementation writes for a small model.
const std::string kConfig = R"({
  "model_type": "gla", "attn": null, "attn_mode": "chunk", "clamp_min": null, "conv_size": 4,
  "elementwise_affine": true, "expand_k": 0.5, "expand_v": 1, "feature_map": null, "hidden_act": "swish",
  "hidden_ratio": 4, "hidden_size": 64, "initializer_range": 0.08, "intermediate_size": null, "norm_eps": 1e-06,
  "num_heads": 2, "num_hidden_layers": 2, "num_kv_heads": null, "qkv_rank": 8, "tie_word_embeddings": false,
  "use_gk": true, "use_gv": false, "use_l2warp": false, "use_output_gate": true, "use_short_conv": false,
  "use_cache": false, "vocab_size": 256
})";

std::string with(const std::string &from, const std::string &to) {
  std::string text = kConfig;
  size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos);
  return text.replace(at, from.size(), to);
}

std::string messageOf(const std::string &text) {
  Diagnostics diagnostics;
  EXPECT_FALSE(paramsFromConfigText(text, "config.json", diagnostics).has_value());
  return diagnostics.hasErrors() ? diagnostics.all().front().message : "";
}

TEST(HfConfigTest, GlaBecomesParamsOfTheExample) {
  Diagnostics diagnostics;
  auto params = paramsFromConfigText(kConfig, "config.json", diagnostics);
  ASSERT_TRUE(params.has_value()) << diagnostics.str();
  LoadOptions load;
  load.path = TIDEGATE_SOURCE_DIR "/examples/gla/gla.tg";
  load.params = *params;
  auto program = Program::load(load, diagnostics);
  ASSERT_NE(program, nullptr) << diagnostics.str();
  auto weights = program->weights(diagnostics);
  ASSERT_TRUE(weights.has_value()) << diagnostics.str();
  std::map<std::string, WeightInfo> byName;
  for (const WeightInfo &weight : *weights)
    byName[weight.name] = weight;
  using Shape = std::vector<int64_t>;
  EXPECT_EQ(byName.size(), 37u);
  EXPECT_EQ(byName["model.layers.1.attn.gk_proj.1.bias"].shape, Shape({32}));
  EXPECT_EQ(byName["model.layers.0.attn.q_proj.0.weight"].shape, Shape({8, 64}));
  EXPECT_EQ(byName["model.layers.0.attn.v_proj.1.weight"].shape, Shape({64, 8}));
  EXPECT_EQ(byName["model.layers.1.attn.g_norm_swish_gate.weight"].shape, Shape({32}));
  EXPECT_EQ(byName["model.layers.0.mlp.down_proj.weight"].shape, Shape({64, 256}));
  EXPECT_EQ(byName["model.embeddings.weight"].init, "normal(0.08)");
  EXPECT_EQ(byName["lm_head.weight"].shape, Shape({256, 64}));
}

TEST(HfConfigTest, FullRankAndWidthOfTheMlp) {
  Diagnostics diagnostics;
  auto params = paramsFromConfigText(with("\"qkv_rank\": 8", "\"qkv_rank\": 0"), "config.json", diagnostics);
  ASSERT_TRUE(params.has_value());
  EXPECT_EQ(std::count(params->begin(), params->end(), std::pair<std::string, std::string>("rank", "full")), 1);
  params = paramsFromConfigText(with("\"intermediate_size\": null", "\"intermediate_size\": 96"), "c", diagnostics);
  ASSERT_TRUE(params.has_value());
  EXPECT_EQ(std::count(params->begin(), params->end(), std::pair<std::string, std::string>("mlp_width", "96")), 1);
}

/// Weights of an example under the configuration of a golden case.
std::map<std::string, std::vector<int64_t>> weightsOf(const std::string &example, const std::string &golden) {
  Diagnostics diagnostics;
  auto params = paramsFromConfig(TIDEGATE_SOURCE_DIR "/tests/golden/" + golden + "/config.json", diagnostics);
  EXPECT_TRUE(params.has_value()) << diagnostics.str();
  LoadOptions load;
  load.path = TIDEGATE_SOURCE_DIR "/examples/" + example + "/" + example + ".tg";
  load.params = params.value_or(ParamOverrides());
  auto program = Program::load(load, diagnostics);
  auto weights = program ? program->weights(diagnostics) : std::nullopt;
  EXPECT_TRUE(weights.has_value()) << diagnostics.str();
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const WeightInfo &weight : weights.value_or(std::vector<WeightInfo>()))
    shapes[weight.name] = weight.shape;
  return shapes;
}

TEST(HfConfigTest, DeltaNetBecomesParamsOfTheExample) {
  auto shapes = weightsOf("delta_net", "delta_net_r8");
  using Shape = std::vector<int64_t>;
  EXPECT_EQ(shapes.size(), 37u);
  EXPECT_EQ(shapes["model.layers.1.attn.q_conv1d.weight"], Shape({64, 1, 4}));
  EXPECT_EQ(shapes["model.layers.0.attn.k_proj.1.weight"], Shape({64, 8}));
  EXPECT_EQ(shapes["model.layers.0.attn.b_proj.weight"], Shape({2, 64}));
  EXPECT_EQ(shapes["model.layers.0.attn.o_norm.weight"], Shape({32}));
}

TEST(HfConfigTest, GatedDeltaNetBecomesParamsOfTheExample) {
  auto shapes = weightsOf("gated_deltanet", "gated_deltanet_r8");
  using Shape = std::vector<int64_t>;
  EXPECT_EQ(shapes.size(), 45u);
  EXPECT_EQ(shapes["model.layers.0.attn.q_conv1d.weight"], Shape({64, 1, 4}));
  EXPECT_EQ(shapes["model.layers.0.attn.v_conv1d.weight"], Shape({128, 1, 4}));
  EXPECT_EQ(shapes["model.layers.1.attn.A_log"], Shape({2}));
  EXPECT_EQ(shapes["model.layers.1.attn.dt_bias"], Shape({2}));
  EXPECT_EQ(shapes["model.layers.1.attn.g_proj.weight"], Shape({128, 64}));
  EXPECT_EQ(shapes["model.layers.1.attn.o_proj.weight"], Shape({64, 128}));
}

TEST(HfConfigTest, LactBecomesParamsOfTheExample) {
  auto full = weightsOf("lact", "lact_rfull"), low = weightsOf("lact", "lact_r8_muon");
  using Shape = std::vector<int64_t>;
  EXPECT_EQ(full.size(), 41u);
  EXPECT_EQ(full["model.layers.0.attn.w0"], Shape({2, 32, 32}));
  EXPECT_EQ(full["model.layers.1.attn.qk_offset"], Shape({64, 2}));
  EXPECT_EQ(full["model.layers.1.attn.lr_proj.bias"], Shape({6}));
  EXPECT_EQ(full["model.layers.1.attn.momentum_proj.0.weight"], Shape({2, 64}));
  EXPECT_EQ(low.size(), 45u);
  EXPECT_EQ(low["model.layers.0.attn.w2.w_left"], Shape({2, 32, 8}));
  EXPECT_EQ(low["model.layers.0.attn.w2.w_right"], Shape({2, 8, 32}));
}

TEST(HfConfigTest, OptionsThatLactLacksAreNamed) {
  const std::string config = R"({"model_type": "lact_swiglu", "hidden_size": 64, "num_hidden_layers": 2,
    "num_attn_heads": 2, "num_lact_heads": 2, "vocab_size": 256, "lact_chunk_size": 32, "window_size": 32,
    "rope_theta": 10000.0, "norm_eps": 1e-6, "initializer_range": 0.02)";
  EXPECT_EQ(messageOf(config + R"(, "ttt_prenorm": true})"),
            "config.json: expected 'ttt_prenorm' to be false, but got true");
  EXPECT_EQ(messageOf(config + R"(, "use_muon": 1})"), "config.json: expected true or false for 'use_muon', but got 1");
}

TEST(HfConfigTest, WhatIsWrittenReadsBackAsTheSameParams) {
  for (const ReferenceModel &model : referenceModels()) {
    LoadOptions load;
    load.path = TIDEGATE_SOURCE_DIR "/examples/" + model.example;
    Diagnostics diagnostics;
    auto program = Program::load(load, diagnostics);
    ASSERT_NE(program, nullptr) << diagnostics.str();
    ReferenceModel full = model;
    for (const ParamInfo &param : program->params())
      full.params.emplace_back(param.name, param.value);
    std::string why;
    auto config = writeConfig(full, "float32", why);
    ASSERT_TRUE(config.has_value()) << why;
    auto back = readConfigText(*config, "config.json", diagnostics);
    ASSERT_TRUE(back.has_value()) << diagnostics.str();
    EXPECT_EQ(back->modelType, model.modelType);
    EXPECT_EQ(back->example, model.example);
    load.params = back->params;
    auto again = Program::load(load, diagnostics);
    ASSERT_NE(again, nullptr) << diagnostics.str();
    for (size_t i = 0; i < program->params().size(); ++i)
      EXPECT_EQ(again->params()[i].value, program->params()[i].value) << program->params()[i].name;
  }
}

TEST(HfConfigTest, WhatCannotBeWrittenSaysWhy) {
  std::string why;
  EXPECT_FALSE(writeConfig({"gla", "gla/gla.tg", {{"D", "64"}}}, "float32", why).has_value());
  EXPECT_EQ(why, "it has no param 'L'");
  EXPECT_FALSE(writeConfig({"gla", "gla/gla.tg", {{"D", "fast"}}}, "float32", why).has_value());
  EXPECT_EQ(why, "its param 'D' is fast, not a number");
}

TEST(HfConfigTest, ExamplesArePartOfTheLibrary) {
  auto files = exampleFiles();
  for (const ReferenceModel &model : referenceModels())
    EXPECT_TRUE(std::any_of(files.begin(), files.end(), [&](const auto &file) { return file.path == model.example; }))
        << model.example;
}

TEST(HfConfigTest, UnsupportedOptionsNameTheKey) {
  EXPECT_EQ(messageOf(with("\"use_short_conv\": false", "\"use_short_conv\": true")),
            "config.json: expected 'use_short_conv' to be false, but got true");
  EXPECT_EQ(messageOf(with("\"hidden_act\": \"swish\"", "\"hidden_act\": \"gelu\"")),
            "config.json: expected 'hidden_act' to be \"swish\" or \"silu\", but got \"gelu\"");
  EXPECT_EQ(messageOf(with("\"use_cache\"", "\"use_novelty\"")),
            "config.json: 'use_novelty' is not a known option of model_type 'gla'");
  EXPECT_EQ(messageOf(with("\"num_heads\": 2,", "")),
            "config.json: expected a number for 'num_heads', but it is missing");
  EXPECT_EQ(messageOf(with("\"qkv_rank\": 8", "\"qkv_rank\": -1")),
            "config.json: expected an integer of at least 0 for 'qkv_rank', but got -1");
}

TEST(HfConfigTest, WhatIsNoConfig) {
  EXPECT_EQ(messageOf("{"), "config.json: expected a JSON object");
  EXPECT_EQ(messageOf("[1]"), "config.json: expected a JSON object");
  EXPECT_EQ(messageOf("{}"),
            "config.json: expected 'model_type' to be gla or delta_net or gated_deltanet or lact_swiglu, but it is missing");
  EXPECT_EQ(messageOf("{\"model_type\": \"llama\"}"),
            "config.json: expected 'model_type' to be gla or delta_net or gated_deltanet or lact_swiglu, but got \"llama\"");
  Diagnostics diagnostics;
  EXPECT_FALSE(paramsFromConfig("/nowhere/config.json", diagnostics).has_value());
  EXPECT_NE(diagnostics.str().find("cannot read '/nowhere/config.json'"), std::string::npos);
}

} // namespace
