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
  EXPECT_EQ(messageOf("{}"), "config.json: expected 'model_type' to be gla, but it is missing");
  EXPECT_EQ(messageOf("{\"model_type\": \"llama\"}"),
            "config.json: expected 'model_type' to be gla, but got \"llama\"");
  Diagnostics diagnostics;
  EXPECT_FALSE(paramsFromConfig("/nowhere/config.json", diagnostics).has_value());
  EXPECT_NE(diagnostics.str().find("cannot read '/nowhere/config.json'"), std::string::npos);
}

} // namespace
