//===- TrainingData.cpp - Data that is made, not read -----------*- C++ -*-===//
#include "runtime/train/TrainingData.h"

#include "runtime/core/Error.h"

using namespace tidegate;
using nlohmann::json;
using runtime::RuntimeError;

namespace {
class StepSource : public data::BatchSource {
public:
  StepSource(std::unique_ptr<train::TrainingData> made, uint64_t seed) : made(std::move(made)), seed(seed) {}

  data::Batch next(int64_t rows, int64_t T) override {
    data::Batch batch{rows, T, std::vector<int32_t>(rows * T), std::vector<int32_t>(rows * T), {}};
    made->batch(seed, ++step, rows, T, batch.ids, batch.labels);
    return batch;
  }
  json state() const override { return {{"step", step}, {"seed", seed}}; }
  void restore(const json &state) override {
    if (!state.is_object() || state.value("seed", json()) != seed || !state.value("step", json()).is_number_integer())
      throw RuntimeError(RuntimeError::Kind::InvalidArgument, "expected the saved data position to be a step with seed " +
                                                                  std::to_string(seed) + ", but found " + state.dump());
    step = state["step"];
  }

private:
  std::unique_ptr<train::TrainingData> made;
  uint64_t seed;
  int64_t step = 0;
};
} // namespace

std::unique_ptr<data::BatchSource> train::sourceOf(std::unique_ptr<TrainingData> made, uint64_t seed) {
  return std::make_unique<StepSource>(std::move(made), seed);
}
