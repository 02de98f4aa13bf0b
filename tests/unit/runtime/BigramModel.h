//===- BigramModel.h - A model small enough to check by hand ----*- C++ -*-===//
// logits[t] = table[id[t]] + bias: cross entropy, its gradient, clipping and
// AdamW in plain loops. Stands in for a compiled program in tests of the
// trainer and of the commands.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/core/Error.h"
#include "runtime/train/Model.h"

#include <algorithm>
#include <cmath>

namespace tidegate::test {

template <typename T>
class BigramModel : public train::Model {
public:
  using Ids = std::span<const int32_t>;

  explicit BigramModel(int64_t vocab)
      : size(vocab), specs{{"table.weight", {vocab, vocab}, "normal(0.02)", true}, {"bias", {vocab}, "zeros", false}} {
    for (const auto &spec : specs)
      for (auto *group : {&values, &gradients, &first, &second})
        group->emplace_back(spec.elements());
  }

  const std::vector<train::ParameterSpec> &parameters() const override { return specs; }
  runtime::Dtype dtype() const override { return runtime::dtypeOf<T>; }
  int64_t vocab() const override { return size; }
  runtime::HostSpan parameter(size_t i) override { return view(values[i]); }
  runtime::HostSpan gradient(size_t i) override { return view(gradients[i]); }
  runtime::HostSpan moment(int k, size_t i) override { return view(k ? second[i] : first[i]); }

  train::LossResult evalLoss(const train::TokenBatch &b) override { return loss(b.ids, b.labels, b.B * b.T, 0); }
  train::LossResult lossAndGradients(const train::TokenBatch &b) override {
    clearGradients();
    return loss(b.ids, b.labels, b.B * b.T, 1);
  }

  train::LabelScores scores(const train::TokenBatch &b) override {
    train::LabelScores scores{std::vector<double>(b.B * b.T), std::vector<bool>(b.B * b.T)};
    std::vector<T> row(size);
    for (int64_t r = 0; r < b.B * b.T; ++r) {
      if (b.labels[r] == train::kIgnoredLabel)
        continue;
      logitsOf(b.ids[r], row.data());
      const auto top = std::max_element(row.begin(), row.end()); // the first of equals
      double total = 0;
      for (T x : row)
        total += std::exp(double(x) - *top);
      scores.logProbability[r] = double(row[b.labels[r]]) - *top - std::log(total);
      scores.isLikeliest[r] = top - row.begin() == b.labels[r];
    }
    return scores;
  }

  using train::Model::trainStep;
  train::StepResult trainStep(std::span<const train::TokenBatch> micro, const train::StepConfig &c) override {
    train::StepResult result;
    clearGradients();
    for (const train::TokenBatch &b : micro)
      result.loss += loss(b.ids, b.labels, b.B * b.T, 1.0 / double(micro.size())).loss / double(micro.size());
    double square = 0;
    for (const auto &gradient : gradients)
      for (T g : gradient)
        square += double(g) * g;
    result.gradNorm = std::sqrt(square) * (poison == c.step ? NAN : 1);
    result.skipped = !std::isfinite(result.gradNorm);
    if (result.skipped)
      return result;
    double clip = c.maxNorm > 0 ? std::min(1.0, c.maxNorm / (result.gradNorm + 1e-6)) : 1;
    double correct1 = 1 - std::pow(c.beta1, c.step), correct2 = 1 - std::pow(c.beta2, c.step);
    for (size_t i = 0; i < specs.size(); ++i)
      for (size_t j = 0; j < values[i].size(); ++j) {
        double g = gradients[i][j] * clip, m = c.beta1 * first[i][j] + (1 - c.beta1) * g,
               v = c.beta2 * second[i][j] + (1 - c.beta2) * g * g;
        first[i][j] = T(m), second[i][j] = T(v);
        double p = values[i][j] * (1 - (specs[i].decay ? c.lr * c.weightDecay : 0));
        values[i][j] = T(p - c.lr * (m / correct1) / (std::sqrt(v / correct2) + c.eps));
      }
    return result;
  }

  runtime::HostTensor logits(Ids ids, int64_t B, int64_t time, Ids = {}) override {
    runtime::HostTensor result(dtype(), {B, time, size});
    for (int64_t row = 0; row < B * time; ++row)
      logitsOf(ids[row], result.as<T>().data() + row * size);
    return result;
  }

  std::unique_ptr<train::Decoder> decoder(int64_t B) override {
    struct Last : train::Decoder {
      BigramModel &model;
      int64_t B;
      Last(BigramModel &model, int64_t B) : model(model), B(B) {}
      runtime::HostTensor feed(Ids ids, int64_t time, Ids = {}) override {
        runtime::HostTensor result(model.dtype(), {B, model.size});
        for (int64_t b = 0; b < B; ++b)
          model.logitsOf(ids[b * time + time - 1], result.as<T>().data() + b * model.size);
        result.as<T>()[0] += T(model.decodingError);
        return result;
      }
    };
    return std::make_unique<Last>(*this, B);
  }

  int64_t poison = 0;       ///< The update whose gradient is made NaN; 0: none.
  double gradientError = 0; ///< Added to one element of the table's gradient.
  double decodingError = 0; ///< Added to one logit of each call of a decoder.

private:
  runtime::HostSpan view(std::vector<T> &v) { return {dtype(), v.data(), int64_t(v.size())}; }

  void logitsOf(int32_t id, T *row) const {
    if (id < 0 || id >= size)
      throw runtime::RuntimeError(runtime::RuntimeError::Kind::InvalidArgument,
                                  "expected ids below " + std::to_string(size) + ", but got " + std::to_string(id));
    for (int64_t v = 0; v < size; ++v)
      row[v] = values[0][id * size + v] + values[1][v];
  }

  void clearGradients() {
    for (auto &gradient : gradients)
      std::fill(gradient.begin(), gradient.end(), T(0));
  }

  /// Adds `share` of the gradient of the mean loss; 0: the loss alone.
  train::LossResult loss(Ids ids, Ids labels, int64_t rows, double share) {
    int64_t count = std::count_if(labels.begin(), labels.end(), [](int32_t l) { return l != train::kIgnoredLabel; });
    std::vector<T> row(size);
    double sum = 0;
    for (int64_t r = 0; r < rows; ++r) {
      if (labels[r] == train::kIgnoredLabel)
        continue;
      logitsOf(ids[r], row.data());
      double top = *std::max_element(row.begin(), row.end()), total = 0;
      for (T x : row)
        total += std::exp(x - top);
      sum += top + std::log(total) - row[labels[r]];
      for (int64_t v = 0; share != 0 && v < size; ++v) {
        T d = T((std::exp(row[v] - top) / total - (v == labels[r])) * share / double(count));
        gradients[0][ids[r] * size + v] += d;
        gradients[1][v] += d;
      }
    }
    if (share != 0)
      gradients[0][0] += T(gradientError);
    return {count ? sum / count : 0, count};
  }

  int64_t size;
  std::vector<train::ParameterSpec> specs;
  std::vector<std::vector<T>> values, gradients, first, second;
};

} // namespace tidegate::test
