//===- RecGradientTest.cpp - Adjoints of the tile ops ---------------------===//
#include "GradientCheck.h"

using namespace tidegate::test;

TEST(RecGradientTest, Cumsum) {
  for (std::string flags : {"", " reverse", " exclusive", " reverse exclusive"}) {
    SCOPED_TRACE(flags);
    expectGradient(R"(func.func @f(%x: tensor<5x$Kxf64>) -> tensor<5x$Kxf64> {
      %s = nn.mul %x, %x : tensor<5x$Kxf64>, tensor<5x$Kxf64>
      %y = rec.cumsum %s)" +
                       flags + R"( : tensor<5x$Kxf64>
      return %y : tensor<5x$Kxf64>
    })",
                   2);
  }
}

TEST(RecGradientTest, Reset) {
  for (bool hasInit : {false, true}) {
    std::string to = hasInit ? " to %i" : "", type = hasInit ? ", tensor<3x$Kxf64>" : "";
    expectGradient(R"(func.func @f(%s: tensor<3x$Kxf64>, %x: tensor<f64>, %i: tensor<3x$Kxf64>)
        -> (tensor<3x$Kxf64>, tensor<3x$Kxf64>) {
      %one = nn.constant 1.0 : tensor<f64>
      %zero = nn.constant 0.0 : tensor<f64>
      %p = nn.mul %s, %x : tensor<3x$Kxf64>, tensor<f64>
      %y = rec.reset %p, %one)" + to + " : tensor<3x$Kxf64>, tensor<f64>" + type + R"(
      %z = rec.reset %p, %zero)" + to + " : tensor<3x$Kxf64>, tensor<f64>" + type + R"(
      return %y, %z : tensor<3x$Kxf64>, tensor<3x$Kxf64>
    })",
                   2);
  }
}

/// Rows and columns of three tokens: places of the events, and how gates look.
struct DecayCase {
  const char *name, *gate; ///< Width of the gate, empty for none.
  std::vector<double> rows, cols;

  friend void PrintTo(const DecayCase &c, std::ostream *os) { *os << c.name; }
};

class DecayGradientTest : public testing::TestWithParam<DecayCase> {
protected:
  static std::string list(const std::vector<double> &places, bool asInteger) {
    std::string text;
    for (double place : places)
      text += (text.empty() ? "" : ", ") + std::to_string(int(place)) + (asInteger ? "" : ".0");
    return "[" + text + "]";
  }
  std::string rows() const { return std::to_string(3 * GetParam().rows.size()); }
  std::string cols() const { return std::to_string(3 * GetParam().cols.size()); }
  std::string at() const { return " at " + list(GetParam().rows, true) + " x " + list(GetParam().cols, true); }
  bool hasGates() const { return *GetParam().gate; }
  std::string gateType(const std::string &events) const { return "tensor<" + events + "x" + GetParam().gate + "xf64>"; }
  std::string gateArguments() const {
    return !hasGates() ? ""
                       : ", %gq: " + gateType(rows()) + " {test.falls = " + list(GetParam().rows, false) +
                             "}, %gk: " + gateType(cols()) + " {test.falls = " + list(GetParam().cols, false) + "}";
  }
  std::string gates() const { return hasGates() ? " gates %gq, %gk" : ""; }
  std::string gateTypes() const { return hasGates() ? ", " + gateType(rows()) + ", " + gateType(cols()) : ""; }
};

TEST_P(DecayGradientTest, Scores) {
  std::string q = "tensor<" + rows() + "x3xf64>", k = "tensor<" + cols() + "x3xf64>";
  std::string p = "tensor<" + rows() + "x" + cols() + "xf64>";
  expectGradient("func.func @f(%q: " + q + ", %k: " + k + gateArguments() + ") -> " + p +
                     " {\n  %p = rec.decay_scores %q, %k" + gates() + at() + " : (" + q + ", " + k + gateTypes() +
                     ") -> " + p + "\n  return %p : " + p + "\n}\n",
                 2);
}

TEST_P(DecayGradientTest, Mixes) {
  std::string p = "tensor<" + rows() + "x" + cols() + "xf64>";
  for (bool transposed : {false, true}) {
    SCOPED_TRACE(transposed ? "transposed" : "plain");
    std::string x = "tensor<" + (transposed ? rows() : cols()) + "x3xf64>";
    std::string y = "tensor<" + (transposed ? cols() : rows()) + "x3xf64>";
    expectGradient("func.func @f(%p: " + p + ", %x: " + x + gateArguments() + ") -> " + y +
                       " {\n  %y = rec.decay_mix " + (transposed ? "transposed " : "") + "%p, %x" + gates() + at() +
                       " : (" + p + ", " + x + gateTypes() + ") -> " + y + "\n  return %y : " + y + "\n}\n",
                   2);
  }
}

INSTANTIATE_TEST_SUITE_P(Rec, DecayGradientTest,
                         testing::Values(DecayCase{"without_gates", "", {1}, {0}},
                                         DecayCase{"strict_without_gates", "", {0}, {0}},
                                         DecayCase{"per_channel", "3", {1}, {0}}, DecayCase{"scalar", "1", {1}, {0}},
                                         DecayCase{"strict_per_channel", "3", {0}, {0}},
                                         DecayCase{"two_adds", "3", {3}, {0, 2}},
                                         DecayCase{"two_reads_two_adds", "1", {1, 3}, {0, 2}}),
                         [](const auto &info) { return info.param.name; });

TEST(RecGradientTest, SolveUnitLower) {
  for (std::string flag : {"", "transposed "})
    expectGradient(
        "func.func @f(%m: tensor<5x5xf64>, %y: tensor<5x$Vxf64>) -> tensor<5x$Vxf64> {\n  %n = rec.solve_unit_lower " +
            flag +
            "%m, %y : tensor<5x5xf64>, tensor<5x$Vxf64> -> tensor<5x$Vxf64>\n  return %n : tensor<5x$Vxf64>\n}\n",
        2);
}

/// As many rows as columns; each test value has or lacks factor and gates.
class DecaySolveGradientTest : public DecayGradientTest {};

TEST_P(DecaySolveGradientTest, SolvesUnderDecay) {
  std::string m = "tensor<" + rows() + "x" + rows() + "xf64>", y = "tensor<" + rows() + "x3xf64>";
  for (bool transposed : {false, true})
    for (bool hasFactor : {false, true}) {
      SCOPED_TRACE(std::string(transposed ? "transposed" : "plain") + (hasFactor ? ", with a factor" : ""));
      expectGradient("func.func @f(%m: " + m + ", %y: " + y + ", %x: " + y + gateArguments() + ") -> " + y +
                         " {\n  %n = rec.decay_solve " + (transposed ? "transposed " : "") + "%m, %y" +
                         (hasFactor ? " factor %x" : "") + gates() + at() + " : (" + m + ", " + y +
                         (hasFactor ? ", " + y : "") + gateTypes() + ") -> " + y + "\n  return %n : " + y + "\n}\n",
                     2);
    }
}

INSTANTIATE_TEST_SUITE_P(Rec, DecaySolveGradientTest,
                         testing::Values(DecayCase{"without_gates", "", {0}, {0}}, DecayCase{"fresh", "3", {0}, {0}},
                                         DecayCase{"two_fresh", "3", {0, 2}, {1, 3}},
                                         DecayCase{"two_stale", "3", {0, 0}, {1, 2}}),
                         [](const auto &info) { return info.param.name; });

TEST(RecGradientTest, StrictlyLower) {
  expectGradient(R"(func.func @f(%x: tensor<4x$Kxf64>) -> tensor<4x$Kxf64> {
    %s = nn.mul %x, %x : tensor<4x$Kxf64>, tensor<4x$Kxf64>
    %y = rec.strictly_lower %s : tensor<4x$Kxf64>
    return %y : tensor<4x$Kxf64>
  })",
                 2);
}
