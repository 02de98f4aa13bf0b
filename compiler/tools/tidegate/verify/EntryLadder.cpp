//===- EntryLadder.cpp - One function's compiled forms ----------*- C++ -*-===//
// Every float input and output of the entry has a row per rung.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/verify/EntryLadder.h"

#include "runtime/core/Random.h"

#include <algorithm>
#include <cmath>

using namespace tidegate;
using namespace tidegate::tool;
using runtime::Dtype;
using runtime::HostSpan;
using runtime::HostTensor;
using Tensors = EntryProgram::Tensors;

namespace {

constexpr double kFormBound = 1e-10, kFormGradientBound = 1e-9, kDifferenceBound = 1e-6, kSingleBound = 1e-4,
                 kSingleGradientBound = 2e-3;
constexpr HalfBound kHalfBound{5e-3}, kHalfGradientBound{8e-3}, kHalfRateBound{2e-2};
constexpr double kDeviation = 0.3; // Of random inputs at most; rows are no longer than about 1, as keys are.
constexpr double kMostDeviations = 3; // So that random inputs are below 1.
constexpr double kStep = 1e-4;     // Of a finite difference.
constexpr double kFloor = 1e-3;    // Of the largest value or gradient: below it, rounding decides.

double draw(const runtime::RandomStream &stream, int64_t i) { return stream.normalPair(i / 2)[i % 2]; }

class EntryLadder {
public:
  EntryLadder(const std::string &name, const LadderEntries &entries, const LadderSizes &sizes,
              const LadderInputs &inputs, VerifyReport &report)
      : name(name), entries(entries), sizes(sizes), given(inputs.given), ranges(inputs.ranges), report(report) {}

  void climb() {
    std::vector<int64_t> lengths = given.empty() && hasTime() ? sizes.lengths : std::vector<int64_t>{1};
    const int64_t longest = *std::max_element(lengths.begin(), lengths.end());
    for (int64_t T : lengths)
      if (entries.chunk64) {
        Tensors inputs = inputsOf(T);
        compare(entries.chunk64->run(inputs), entries.token64.run(inputs), "chunk form = token form, " + lengthText(T),
                kFormBound);
      }
    Tensors inputs = inputsOf(longest), seeds = seedsOf(inputs);
    if (seeds.empty() || !hasFloatInput())
      return;
    if (entries.chunk64 || entries.chunk32) {
      const Tensors oracle = entries.token64.vjp(inputs, seeds);
      if (entries.chunk64) {
        compare(entries.chunk64->vjp(inputs, seeds), oracle, "gradients, chunk = token, " + lengthText(longest),
                kFormGradientBound);
        checkDifferences(inputs, seeds, oracle);
      }
      if (entries.chunk32) {
        const Tensors narrow = narrowed(inputs);
        compare(entries.chunk32->run(narrow), entries.token64.run(inputs), "f32 = f64", kSingleBound);
        compare(entries.chunk32->vjp(narrow, narrowed(seeds)), oracle, "gradients, f32 = f64", kSingleGradientBound);
      }
    }
    if (entries.chunk16)
      checkHalf(inputs, seeds);
  }

private:
  std::string lengthText(int64_t T) const {
    return given.empty() && hasTime() ? "T = " + std::to_string(T) : given.empty() ? "no T" : "given inputs";
  }
  bool hasTime() const {
    const auto &specs = entries.token64.inputs();
    return std::any_of(specs.begin(), specs.end(), [](const ValueSpec &spec) {
      return std::find(spec.shape.begin(), spec.shape.end(), ValueSpec::kTime) != spec.shape.end();
    });
  }
  bool hasFloatInput() const {
    const auto &specs = entries.token64.inputs();
    return std::any_of(specs.begin(), specs.end(),
                       [](const ValueSpec &spec) { return runtime::isFloating(spec.dtype); });
  }

  HostTensor randomTensor(const ValueSpec &spec, const std::vector<int64_t> &shape, const std::string &what,
                          double deviation) const {
    HostTensor tensor(spec.dtype, shape);
    runtime::RandomStream stream(sizes.seed, what + " " + spec.name);
    for (int64_t i = 0; i < tensor.elements(); ++i)
      if (runtime::isFloating(spec.dtype))
        tensor.view().set(i, deviation * draw(stream, i));
      else
        tensor.as<int32_t>()[i] = static_cast<int32_t>(stream.below(2, i));
    return tensor;
  }

  Tensors inputsOf(int64_t T) const {
    if (!given.empty())
      return given;
    Tensors inputs;
    for (const ValueSpec &spec : entries.token64.inputs()) {
      std::vector<int64_t> shape;
      for (int64_t size : spec.shape)
        shape.push_back(size == ValueSpec::kBatch ? sizes.batch : size == ValueSpec::kTime ? T : size);
      const double deviation = shape.empty() ? kDeviation : std::min(kDeviation, 1 / std::sqrt(double(shape.back())));
      HostTensor &tensor =
          inputs.emplace(spec.name, randomTensor(spec, shape, "verify input", deviation)).first->second;
      if (runtime::isFloating(spec.dtype))
        fold(tensor.view(), kMostDeviations * deviation, rangeOf(spec.name));
    }
    return inputs;
  }

  DrawRange rangeOf(const std::string &input) const {
    auto found = ranges.find(input);
    return found == ranges.end() ? DrawRange() : found->second;
  }

  /// Cuts numbers at `most`, and mirrors at 0 those that are not in the range.
  static void fold(HostSpan values, double most, DrawRange range) {
    for (int64_t i = 0; i < values.elements; ++i) {
      const double x = std::clamp(values.get(i), -most, most);
      values.set(i, x < range.low || x > range.high ? -x : x);
    }
  }

  /// Random cotangents of the float outputs.
  Tensors seedsOf(const Tensors &inputs) const {
    Tensors seeds, outputs = entries.token64.run(inputs);
    for (const ValueSpec &spec : entries.token64.outputs())
      if (runtime::isFloating(spec.dtype))
        seeds.emplace(spec.name, randomTensor(spec, outputs.at(spec.name).shape(), "verify cotangent", 1));
    return seeds;
  }

  static Tensors narrowed(const Tensors &tensors) {
    Tensors result;
    for (const auto &[name, tensor] : tensors)
      result.emplace(name, runtime::isFloating(tensor.dtype()) ? tensor.to(Dtype::F32) : tensor);
    return result;
  }

  static double largest(const Tensors &tensors) {
    double most = 0;
    for (const auto &[name, tensor] : tensors)
      if (runtime::isFloating(tensor.dtype()))
        for (int64_t i = 0; i < tensor.elements(); ++i)
          most = std::max(most, std::abs(spanOf(tensor).get(i)));
    return most;
  }
  static HostSpan spanOf(const HostTensor &tensor) { return const_cast<HostTensor &>(tensor).view(); }

  void compare(const Tensors &a, const Tensors &b, const std::string &check, double bound) {
    const double floor = kFloor * largest(b);
    for (const auto &[tensor, value] : b)
      if (runtime::isFloating(value.dtype()))
        report.add(name + ": " + check, tensor, relativeError(spanOf(a.at(tensor)), spanOf(value), floor), bound);
  }

  /// bf16 on inputs that bfloat16 holds, so that only what is computed differs. Gradients of one number per head, rates
  /// and decays, are long sums that cancel.
  void checkHalf(const Tensors &inputs, const Tensors &seeds) {
    const Tensors half = rounded(inputs), halfSeeds = rounded(seeds);
    const Tensors wide = widened(half);
    const Tensors want = entries.token64.run(wide), have = entries.chunk16->run(half);
    const double floor = kFloor * largestRms(want);
    for (const auto &[tensor, value] : want)
      if (runtime::isFloating(value.dtype()))
        addHalf(report, name + ": bf16 = f64", tensor, errorsOf(have.at(tensor), value, floor), kHalfBound);
    const Tensors gradients = entries.token64.vjp(wide, widened(halfSeeds)),
                  found = entries.chunk16->vjp(half, halfSeeds);
    std::vector<ValueSpec> specs = entries.token64.inputs();
    std::erase_if(specs, [](const ValueSpec &spec) { return !runtime::isFloating(spec.dtype); });
    std::vector<ValueAndGradient> all;
    for (const ValueSpec &spec : specs)
      all.push_back({spanOf(wide.at(spec.name)), spanOf(gradients.at("grad." + spec.name))});
    const std::vector<double> floors = halfGradientFloors(all);
    for (size_t i = 0; i < specs.size(); ++i) {
      const std::string grad = "grad." + specs[i].name;
      addHalf(report, name + ": gradients, bf16 = f64", grad, errorsOf(found.at(grad), gradients.at(grad), floors[i]),
              specs[i].shape.size() <= 3 ? kHalfRateBound : kHalfGradientBound);
    }
  }
  static RmsErrors errorsOf(const HostTensor &have, const HostTensor &want, double floor) {
    return rmsErrors(spanOf(have), spanOf(want), want.shape().empty() ? 1 : want.shape().back(), floor);
  }
  static double largestRms(const Tensors &tensors) {
    double most = 0;
    for (const auto &[name, tensor] : tensors)
      if (runtime::isFloating(tensor.dtype()))
        most = std::max(most, rms(spanOf(tensor)));
    return most;
  }
  /// In f32, as bfloat16 holds them.
  static Tensors rounded(const Tensors &tensors) {
    Tensors result;
    for (const auto &[name, tensor] : tensors)
      result.emplace(name, runtime::isFloating(tensor.dtype()) ? tensor.to(Dtype::BF16).to(Dtype::F32) : tensor);
    return result;
  }
  static Tensors widened(const Tensors &tensors) {
    Tensors result;
    for (const auto &[name, tensor] : tensors)
      result.emplace(name, runtime::isFloating(tensor.dtype()) ? tensor.to(Dtype::F64) : tensor);
    return result;
  }

  /// Fourth-order differences along a direction in each input.
  void checkDifferences(const Tensors &inputs, const Tensors &seeds, const Tensors &gradients) {
    std::vector<std::pair<std::string, double>> errors;
    std::vector<double> scales;
    for (const ValueSpec &spec : entries.token64.inputs()) {
      if (!runtime::isFloating(spec.dtype))
        continue;
      const HostTensor &gradient = gradients.at("grad." + spec.name), &at = inputs.at(spec.name);
      runtime::RandomStream direction(sizes.seed, "direction " + spec.name);
      auto lossAt = [&](double step) {
        Tensors moved = inputs;
        HostSpan values = moved.at(spec.name).view();
        for (int64_t i = 0; i < values.elements; ++i)
          values.set(i, spanOf(at).get(i) + step * draw(direction, i));
        double loss = 0;
        const Tensors outputs = entries.token64.run(moved);
        for (const auto &[output, seed] : seeds)
          for (int64_t i = 0; i < seed.elements(); ++i)
            loss += spanOf(seed).get(i) * spanOf(outputs.at(output)).get(i);
        return loss;
      };
      const double h = kStep;
      const double difference = (8 * (lossAt(h) - lossAt(-h)) - (lossAt(2 * h) - lossAt(-2 * h))) / (12 * h);
      double derivative = 0, norm = 0;
      for (int64_t i = 0; i < gradient.elements(); ++i) {
        derivative += spanOf(gradient).get(i) * draw(direction, i);
        norm = std::hypot(norm, spanOf(gradient).get(i));
      }
      errors.emplace_back(spec.name, std::abs(difference - derivative));
      scales.push_back(norm);
    }
    const double whole = *std::max_element(scales.begin(), scales.end());
    for (size_t i = 0; i < errors.size(); ++i) {
      const double scale = std::max(scales[i], kFloor * whole);
      report.add(name + ": gradients = differences", errors[i].first,
                 errors[i].second == 0 ? 0 : errors[i].second / scale, kDifferenceBound);
    }
  }

  const std::string &name;
  const LadderEntries &entries;
  const LadderSizes &sizes;
  const Tensors &given;
  const std::map<std::string, DrawRange> &ranges;
  VerifyReport &report;
};

} // namespace

void tool::climbEntryLadder(const std::string &name, const LadderEntries &entries, const LadderSizes &sizes,
                            const LadderInputs &inputs, VerifyReport &report) {
  EntryLadder(name, entries, sizes, inputs, report).climb();
}
