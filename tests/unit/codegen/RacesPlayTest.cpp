//===- RacesPlayTest.cpp - Races in the kernels of whole models -------------===//
// Every kernel that gradients, scores and decoding of a model launch on a GPU, played
// under two schedules with its accesses to shared memory checked: kernels throw at
// what no barrier orders (RaceCheck.h, which unit.Device shows to see it).
//===----------------------------------------------------------------------===//
#include "tests/unit/codegen/PlayedModel.h"
#include "tests/unit/driver/TinyModels.h"

#include <gtest/gtest.h>

using namespace tidegate;
using namespace tidegate::test;
using played::PlayedModel;

namespace {
struct Example {
  std::string name;
  ParamList params;
};
void PrintTo(const Example &example, std::ostream *os) { *os << example.name; }

class RacesPlayTest : public testing::TestWithParam<Example> {};
} // namespace

TEST_P(RacesPlayTest, NoneInHalf) {
  constexpr int64_t B = 2, T = 65;
  ProgramSource source{TIDEGATE_SOURCE_DIR "/examples/" + GetParam().name + "/" + GetParam().name + ".tg",
                       GetParam().params,
                       {}};
  source.params.insert(source.params.end(), {{"D", "64"}, {"L", "1"}, {"vocab", "40"}});
  PlayedModel played(source, Precision::BF16, /*documents=*/false, /*findsRaces=*/true);
  train::Model &model = played;
  train::initialiseParameters(model, 3);
  const RandomTokens tokens(B, T, 40);
  for (int schedule = 0; schedule < 2; ++schedule) {
    // Kernels are compiled when they are first needed, and begin with the first schedule.
    model.lossAndGradients(tokens.all());
    model.scores(tokens.all());
    auto decoder = model.decoder(B);
    std::vector<int32_t> prompt;
    for (int64_t b = 0; b < B; ++b)
      prompt.insert(prompt.end(), tokens.ids.begin() + b * T, tokens.ids.begin() + (b + 1) * T - 2);
    decoder->feed(prompt, T - 2, {});
    EXPECT_EQ(decoder->feed(std::vector<int32_t>{1, 2}, 1, {}).shape().back(), 40);
    ASSERT_GT(played::numSchedules(), 1);
    played::setSchedule(1);
  }
}

static const ParamList kMlp = {{"H", "2"}, {"mlp_width", "48"}},
                       kHeads = {{"H", "2"}, {"head_dim", "32"}, {"mlp_width", "48"}};
INSTANTIATE_TEST_SUITE_P(
    Models, RacesPlayTest,
    testing::Values(Example{"gla", kMlp}, Example{"delta_net", kMlp}, Example{"gated_deltanet", kHeads},
                    Example{"lact", {{"H", "2"}, {"N", "2"}, {"mlp_width", "48"}, {"chunk", "32"}, {"window", "32"}}},
                    Example{"kda", kHeads}, Example{"mamba2", {{"head_dim", "32"}, {"N", "32"}}},
                    Example{"rwkv7", {{"head_dim", "32"}, {"decay_rank", "16"}, {"rate_rank", "16"},
                                      {"value_rank", "8"}, {"gate_rank", "16"}}},
                    Example{"delta_product", kHeads}),
    [](const auto &info) { return info.param.name; });
