//===- VerifyTest.cpp -------------------------------------------*- C++ -*-===//
// The comparisons of `tidegate verify` hold for a right model and fail for a
// wrong one.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/verify/Golden.h"
#include "compiler/tools/tidegate/verify/Ladder.h"
#include "runtime/core/Error.h"
#include "runtime/core/Safetensors.h"
#include "runtime/train/Init.h"
#include "tests/unit/cli/ToolRun.h"
#include "tests/unit/runtime/BigramModel.h"

#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>

using namespace tidegate;
using namespace tidegate::test;
using namespace tidegate::tool;
using runtime::HostTensor;

namespace {

/// A golden folder made by a bigram model in f64.
void writeGolden(const std::string &directory, double gradientChange = 0) {
  BigramModel<double> model(7);
  train::initialiseParameters(model, 2);
  std::vector<runtime::NamedTensor> weights, golden;
  auto add = [](std::vector<runtime::NamedTensor> &list, const std::string &name, const HostTensor &tensor) {
    list.push_back(runtime::named(name, tensor));
  };
  std::vector<HostTensor> keep; // NamedTensors only point.
  keep.reserve(16);
  auto copyOf = [&](const train::ParameterSpec &spec, runtime::HostSpan span) -> HostTensor & {
    auto values = span.as<double>();
    return keep.emplace_back(HostTensor::of<double>(spec.shape, std::span<const double>(values)));
  };
  std::vector<int64_t> ids = {1, 2, 3, 4, 0, 6, 6, 5}, shape = {2, 4};
  std::vector<int32_t> narrow(ids.begin(), ids.end()), labels = {2, 3, 4, -100, 6, 6, 5, -100};
  for (size_t i = 0; i < 2; ++i)
    add(weights, model.parameters()[i].name, copyOf(model.parameters()[i], model.parameter(i)));
  add(golden, "input_ids", keep.emplace_back(HostTensor::of<int64_t>(shape, ids)));
  add(golden, "logits", keep.emplace_back(model.logits(narrow, 2, 4)));
  double loss = model.lossAndGradients({narrow, labels, 2, 4}).loss;
  add(golden, "loss", keep.emplace_back(HostTensor::of<double>({1}, std::vector<double>{loss})));
  for (size_t i = 0; i < 2; ++i) {
    HostTensor &gradient = copyOf(model.parameters()[i], model.gradient(i));
    gradient.as<double>()[0] += gradientChange;
    add(golden, "grad." + model.parameters()[i].name, gradient);
  }
  runtime::writeSafetensorsFile(directory + "/model.safetensors", weights);
  std::vector<double> losses;
  for (train::StepConfig config{1e-3, 0.9, 0.95, 1e-15, 0.1, 1, 1}; config.step <= 5; ++config.step)
    losses.push_back(model.trainStep({narrow, labels, 2, 4}, config).loss);
  add(golden, "losses", keep.emplace_back(HostTensor::of<double>({5}, losses)));
  runtime::writeSafetensorsFile(directory + "/golden.safetensors", golden);
  writeText(directory + "/config.json", R"({"vocab_size": 7})");
}

size_t failures(const VerifyReport &report) {
  return std::count_if(report.rows.begin(), report.rows.end(), [](const CheckRow &row) { return !row.holds(); });
}

} // namespace

TEST(RelativeErrorTest, ScaleFloorAndNaN) {
  auto tensor = [](std::vector<double> v) { return HostTensor::of<double>({int64_t(v.size())}, v); };
  HostTensor a = tensor({1, 2}), b = tensor({1, 4}), zero = tensor({0, 0}), nan = tensor({NAN, 0}),
             longer = tensor({1, 4, 0});
  EXPECT_EQ(relativeError(a.view(), b.view()), 0.5);
  EXPECT_EQ(relativeError(a.view(), b.view(), 20), 0.1);
  EXPECT_EQ(relativeError(zero.view(), zero.view()), 0);
  EXPECT_TRUE(std::isinf(relativeError(a.view(), zero.view())));
  EXPECT_TRUE(std::isnan(relativeError(nan.view(), b.view())));
  EXPECT_TRUE(std::isinf(relativeError(a.view(), longer.view())));
  EXPECT_FALSE((CheckRow{"", "", NAN, 1}.holds()));
}

TEST(RmsErrorsTest, WholeRowsFloorAndNaN) {
  auto values = [](std::vector<double> x) { return HostTensor::of<double>({int64_t(x.size())}, x); };
  HostTensor b = values({4, 4, 4, 4, 0, 0, 0, 0}), a = values({4, 4, 4, 4, 2, 0, 0, 0});
  const RmsErrors errors = rmsErrors(a.view(), b.view(), 4); // rms of b: sqrt(8)
  EXPECT_DOUBLE_EQ(errors.whole, std::sqrt(0.5) / std::sqrt(8.0));
  EXPECT_DOUBLE_EQ(errors.row, 1 / std::sqrt(8.0)); // A row of zeros is measured against the whole.

  HostTensor small = values({4, 4, 4, 6}), wide = values({4, 4, 4, 4});
  EXPECT_DOUBLE_EQ(rmsErrors(small.view(), wide.view(), 4, 100).whole, 0.01);
  HostTensor noise = values({1e-9, 0}), zero = values({0, 0});
  EXPECT_TRUE(std::isinf(rmsErrors(noise.view(), zero.view(), 2).whole));
  EXPECT_LT(rmsErrors(noise.view(), zero.view(), 2, 1e-3).row, 1e-5);
  EXPECT_EQ(rmsErrors(zero.view(), zero.view(), 2).whole, 0);

  HostTensor nan = values({NAN, 0});
  EXPECT_TRUE(std::isnan(rmsErrors(nan.view(), zero.view(), 2, 1).whole));
  EXPECT_TRUE(std::isinf(rmsErrors(wide.view(), zero.view(), 2).whole));
}

// How far the loss goes with a value counts, whatever its units; a gradient whose terms cancel counts as a sixteenth.
TEST(HalfGradientFloorsTest, CountByHowFarTheLossGoes) {
  auto values = [](std::vector<double> x) { return HostTensor::of<double>({int64_t(x.size())}, x); };
  HostTensor q = values({2, 2, 2, 2}), dq = values({3, 3, 3, 3}), gate = values({0.5}), none = values({0});
  const std::vector<double> floors = halfGradientFloors({{q.view(), dq.view()}, {gate.view(), none.view()}});
  EXPECT_DOUBLE_EQ(floors[0], 3 / 16.0);              // Of itself.
  EXPECT_DOUBLE_EQ(floors[1], 2 * 3 * 2 / 16.0 / 0.5); // The loss goes by 2 * |dq| = 12.
  HostTensor q2 = values({4, 4, 4, 4}), dq2 = values({1.5, 1.5, 1.5, 1.5}); // The same in other units.
  EXPECT_EQ(halfGradientFloors({{q2.view(), dq2.view()}, {gate.view(), none.view()}})[1], floors[1]);
  // A value of 0 has gradients too.
  EXPECT_DOUBLE_EQ(halfGradientFloors({{q.view(), dq.view()}, {none.view(), gate.view()}})[1], 12 / 16.0 / 0.1);
}

TEST(VerifyReportTest, ShowsTheWorstAndEveryFailure) {
  VerifyReport report;
  EXPECT_FALSE(report.holds()) << "nothing compared is nothing shown";
  report.add("f64 gradient", "a", 1e-9, 1e-4);
  report.add("f64 gradient", "b", 1e-7, 1e-4);
  std::ostringstream text;
  report.print(text, false);
  EXPECT_FALSE(contains(text.str(), " a "));
  EXPECT_TRUE(contains(text.str(), "b        1.00e-07   1.00e-04  ok")) << text.str();
  EXPECT_TRUE(contains(text.str(), "verdict: all 2 comparisons hold"));
  report.add("f64 gradient", "c", NAN, 1e-4);
  report.add("f64 gradient", "d", 1, 1e-4);
  text.str("");
  report.print(text, false);
  EXPECT_TRUE(contains(text.str(), "c ")) << text.str();
  EXPECT_TRUE(contains(text.str(), "d ")) << text.str();
  EXPECT_TRUE(contains(text.str(), "verdict: 2 of 4 comparisons fail"));
  EXPECT_FALSE(nlohmann::json::parse(report.json())["holds"].get<bool>());
}

TEST(VerifyReportTest, NothingComparedDoesNotHold) {
  VerifyReport report;
  EXPECT_FALSE(report.holds());
  std::ostringstream text;
  report.print(text, /*all=*/false);
  EXPECT_TRUE(contains(text.str(), "verdict: nothing was compared")) << text.str();
}

TEST(GoldenTest, HoldsForTheModelItCameFrom) {
  ScratchDirectory scratch;
  writeGolden(scratch.path());
  BigramModel<double> model(7);
  VerifyReport report;
  // Its bias has no weight decay in either run, so even the AdamW losses agree exactly.
  checkGolden(model, scratch.path(), "f64", report);
  EXPECT_EQ(report.rows.size(), 1 + 1 + 2 + 5u);
  EXPECT_TRUE(report.holds());
  BigramModel<float> single(7);
  VerifyReport rounded;
  checkGolden(single, scratch.path(), "f32", rounded);
  EXPECT_TRUE(rounded.holds());
}

TEST(GoldenTest, FailsForAWrongGradientAndSaysWhich) {
  ScratchDirectory scratch;
  writeGolden(scratch.path(), 1e-3);
  BigramModel<double> model(7);
  VerifyReport report;
  checkGolden(model, scratch.path(), "f64", report);
  EXPECT_EQ(failures(report), 2u);
  BigramModel<double> other(8);
  EXPECT_THROW(checkGolden(other, scratch.path(), "f64", report), runtime::RuntimeError);
}

TEST(LadderTest, HoldsForTheSameMathematics) {
  BigramModel<double> token(11), chunk(11);
  BigramModel<float> single(11);
  VerifyReport report;
  climbLadder({chunk, &token, &single}, {2, {1, 3, 20}, 4}, report);
  EXPECT_TRUE(report.holds());
  EXPECT_GT(report.rows.size(), 12u);
}

TEST(LadderTest, SeesAWrongGradientByDifferencesAlone) {
  BigramModel<double> token(11), chunk(11);
  BigramModel<float> single(11);
  token.gradientError = chunk.gradientError = 1e-4;
  single.gradientError = 1e-4;
  VerifyReport report;
  climbLadder({chunk, &token, &single}, {2, {20}, 4}, report);
  EXPECT_FALSE(report.holds());
  for (const CheckRow &row : report.rows)
    if (!row.holds())
      EXPECT_TRUE(contains(row.check, "differences")) << row.check;
}

// f32 in the place of bf16: on weights that bfloat16 holds it is far more exact than what is asked.
TEST(LadderTest, BfloatIsHeldOnWeightsItHolds) {
  BigramModel<double> chunk(11);
  BigramModel<float> half(11);
  VerifyReport report;
  climbLadder({.chunk64 = chunk, .chunk16 = &half}, {2, {20}, 4}, report);
  ASSERT_FALSE(report.rows.empty());
  for (const CheckRow &row : report.rows) {
    EXPECT_TRUE(contains(row.check, "bf16 = f64")) << row.check;
    EXPECT_LT(row.error, 1e-5) << row.check << " " << row.tensor;
  }
  for (size_t p = 0; p < half.parameters().size(); ++p)
    for (int64_t i = 0; i < half.parameter(p).elements; ++i) {
      const float weight = float(half.parameter(p).get(i));
      EXPECT_EQ(std::bit_cast<uint32_t>(weight) & 0xffff, 0u) << weight;
      EXPECT_EQ(chunk.parameter(p).get(i), weight);
    }
  half.gradientError = 1;
  VerifyReport wrong;
  climbLadder({.chunk64 = chunk, .chunk16 = &half}, {2, {20}, 4}, wrong);
  EXPECT_FALSE(wrong.holds());
}

TEST(LadderTest, SeesBfloatThatDecodesSomethingElse) {
  BigramModel<double> chunk(11);
  BigramModel<float> half(11);
  half.decodingError = 1;
  VerifyReport report;
  climbLadder({.chunk64 = chunk, .chunk16 = &half}, {2, {20}, 4}, report);
  EXPECT_FALSE(report.holds());
  for (const CheckRow &row : report.rows)
    EXPECT_EQ(row.holds(), !contains(row.check, "decoding")) << row.check << " " << row.tensor;
}
