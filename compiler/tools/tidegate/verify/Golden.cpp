//===- Golden.cpp - Against stored values of a reference --------*- C++ -*-===//
// Bounds are the project's: the reference ran in f32, so no precision of ours
// can come closer than its own rounding.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/verify/Golden.h"

#include "runtime/core/Error.h"
#include "runtime/core/Safetensors.h"
#include "runtime/train/Checkpoint.h"

#include <algorithm>
#include <cmath>

using namespace tidegate;
using namespace tidegate::tool;
using runtime::Dtype;
using runtime::HostTensor;
using runtime::RuntimeError;

namespace {

/// Labels of next-token prediction: ids shifted, nothing after the last.
std::vector<int32_t> shifted(std::span<const int32_t> ids, int64_t B, int64_t T) {
  std::vector<int32_t> labels(ids.size(), train::kIgnoredLabel);
  for (int64_t b = 0; b < B; ++b)
    for (int64_t t = 0; t + 1 < T; ++t)
      labels[b * T + t] = ids[b * T + t + 1];
  return labels;
}

void expectShape(const std::string &name, const HostTensor &tensor, const std::vector<int64_t> &expected) {
  if (tensor.shape() != expected)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument, "golden.safetensors: expected '" + name + "' of shape " +
                                                                runtime::shapeText(expected) + ", but it is " +
                                                                runtime::shapeText(tensor.shape()));
}

} // namespace

void tool::checkGolden(train::Model &model, const std::string &directory, const std::string &label,
                       VerifyReport &report, const GoldenBounds &bounds) {
  const runtime::SafetensorsFile golden(directory + "/golden.safetensors");
  train::loadWeights(directory + "/model.safetensors", model);
  const HostTensor idTensor = golden.tensor("input_ids").to(Dtype::I32);
  if (idTensor.shape().size() != 2)
    expectShape("input_ids", idTensor, {-1, -1});
  const int64_t B = idTensor.shape()[0], T = idTensor.shape()[1];
  const auto ids = idTensor.as<int32_t>();
  const std::vector<int32_t> labels = shifted(ids, B, T);
  auto stored = [&](const std::string &name) { return golden.tensor(name).to(Dtype::F64); };

  HostTensor expected = stored("logits"), logits = model.logits(ids, B, T);
  expectShape("logits", expected, {B, T, model.vocab()});
  report.add(label + " logits", "logits", relativeError(logits.view(), expected.view()), bounds.logits);

  const train::LossResult loss = model.lossAndGradients({ids, labels, B, T});
  HostTensor storedLoss = stored("loss"), losses = stored("losses");
  report.add(label + " loss", "loss", relativeError(loss.loss, storedLoss.view().get(0)), bounds.losses);
  const auto &parameters = model.parameters();
  double largest = 0;
  for (const auto &parameter : parameters)
    for (double value : stored("grad." + parameter.name).as<double>())
      largest = std::max(largest, std::abs(value));
  for (size_t i = 0; i < parameters.size(); ++i) {
    HostTensor gradient = stored("grad." + parameters[i].name);
    report.add(label + " gradient", parameters[i].name,
               relativeError(model.gradient(i), gradient.view(), bounds.gradientFloor * largest), bounds.gradients);
  }

  train::StepConfig config{1e-3, 0.9, 0.95, 1e-15, 0.1, 1.0, 1};
  for (; config.step <= losses.elements(); ++config.step) {
    const double found = model.trainStep({ids, labels, B, T}, config).loss;
    report.add(label + " AdamW losses", "before step " + std::to_string(config.step),
               relativeError(found, losses.view().get(config.step - 1)), bounds.losses);
  }
}
