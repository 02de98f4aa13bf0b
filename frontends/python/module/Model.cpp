//===- Model.cpp - A compiled model with its weights ------------*- C++ -*-===//
#include "compiler/tools/tidegate/RunRecord.h"
#include "frontends/python/module/Module.h"
#include "frontends/python/module/Tensors.h"
#include "runtime/core/Error.h"
#include "runtime/eval/LogLikelihood.h"
#include "runtime/eval/Perplexity.h"
#include "runtime/train/Checkpoint.h"
#include "runtime/train/Init.h"
#include "runtime/train/Sampler.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <pybind11/stl.h>

namespace py = pybind11;
using namespace tidegate;
using namespace tidegate::python;

namespace {

using Ids = py::array_t<int32_t, py::array::c_style>;

/// The elements of B x T ids; ValueError unless they are.
std::span<const int32_t> elements(const char *name, const Ids &ids, const Ids &like) {
  if (ids.ndim() != 2 || ids.shape(0) != like.shape(0) || ids.shape(1) != like.shape(1))
    throw py::value_error(std::string(name) + ": expected B x T integers, the same for all");
  return {ids.data(), size_t(ids.size())};
}

/// Ids with what may go with them, as the trainer's batch; views of the arrays.
train::TokenBatch batchOf(const Ids &ids, const std::optional<Ids> &labels, const std::optional<Ids> &positions) {
  train::TokenBatch batch;
  batch.ids = elements("ids", ids, ids);
  batch.B = ids.shape(0);
  batch.T = ids.shape(1);
  if (labels)
    batch.labels = elements("labels", *labels, ids);
  if (positions)
    batch.positions = elements("positions", *positions, ids);
  return batch;
}

class Model {
public:
  explicit Model(const Program &program) : model(compileModel(program.source, program.options)) {}

  train::Model &operator*() { return *model; }

  /// Work on the model without the GIL, one at a time.
  template <typename F>
  auto alone(const F &work) {
    py::gil_scoped_release release;
    std::lock_guard lock(mutex);
    return work(*model);
  }

private:
  std::mutex mutex;
  std::unique_ptr<train::Model> model;
};

class Decoder {
public:
  Decoder(Model &model, int64_t B) : B(B), model(model) {
    if (B < 1)
      throw py::value_error("batch: expected at least 1");
    decoder = model.alone([&](train::Model &m) { return m.decoder(B); });
  }

  py::array feed(const Ids &ids, const std::optional<Ids> &positions) {
    if (ids.ndim() != 2 || ids.shape(0) != B || ids.shape(1) < 1)
      throw py::value_error("ids: expected " + std::to_string(B) + " x T integers");
    const train::TokenBatch batch = batchOf(ids, std::nullopt, positions);
    return toArray(model.alone([&](train::Model &) { return decoder->feed(batch.ids, batch.T, batch.positions); }));
  }

private:
  int64_t B;
  Model &model;
  std::unique_ptr<train::Decoder> decoder;
};

py::list parametersOf(Model &model) {
  py::list list;
  for (const train::ParameterSpec &spec : (*model).parameters())
    list.append(py::make_tuple(spec.name, py::tuple(py::cast(spec.shape)), spec.init, spec.decay));
  return list;
}

py::array arrayOfParameter(py::object self, size_t i, const std::string &what) {
  train::Model &model = *self.cast<Model &>();
  if (i >= model.parameters().size())
    throw py::index_error("no parameter " + std::to_string(i));
  runtime::HostSpan span = what == "weight"     ? model.parameter(i)
                           : what == "gradient" ? model.gradient(i)
                                                : model.moment(what == "moment2", i);
  return arrayOn(span, model.parameters()[i].shape, self);
}

std::vector<std::pair<double, bool>> logLikelihoods(Model &model, std::vector<std::vector<int32_t>> ids,
                                                    const std::vector<int64_t> &scored, int64_t B) {
  if (ids.size() != scored.size())
    throw py::value_error("scored: expected one number a sequence");
  std::vector<eval::ScoredSequence> sequences;
  for (size_t i = 0; i < ids.size(); ++i)
    sequences.push_back({std::move(ids[i]), scored[i]});
  std::vector<std::pair<double, bool>> scores;
  model.alone([&](train::Model &m) {
    for (const eval::SequenceScore &score : eval::logLikelihoods(m, sequences, B))
      scores.emplace_back(score.logLikelihood, score.greedy);
  });
  return scores;
}

std::pair<std::string, std::string> findCheckpoint(const std::string &path) {
  train::FoundCheckpoint found = tool::findUsableCheckpoint(path);
  return {*found.path, train::toJson(found.state).dump()};
}

} // namespace

void python::bindModel(py::module_ &module) {
  py::class_<Model>(module, "Model", "A compiled model with weights, gradients and AdamW moments.")
      .def(py::init<const Program &>(), py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("vocab", [](Model &model) { return (*model).vocab(); })
      .def_property_readonly("has_documents", [](Model &model) { return (*model).hasDocuments(); })
      .def("parameters", &parametersOf)
      .def("array", &arrayOfParameter, "The memory of weight, gradient, moment1 or moment2 number i.")
      .def("initialise", [](Model &model, uint64_t seed) {
        model.alone([&](train::Model &m) { train::initialiseParameters(m, seed); });
      })
      .def("load_weights", [](Model &model, const std::string &file) {
        model.alone([&](train::Model &m) { train::loadWeights(file, m); });
      })
      .def("load_checkpoint", [](Model &model, const std::string &path) {
        model.alone([&](train::Model &m) { train::loadCheckpoint(path, m); });
      })
      .def("logits", [](Model &model, const Ids &ids, const std::optional<Ids> &positions) {
        const train::TokenBatch batch = batchOf(ids, std::nullopt, positions);
        return toArray(
            model.alone([&](train::Model &m) { return m.logits(batch.ids, batch.B, batch.T, batch.positions); }));
      }, py::arg("ids"), py::arg("positions") = py::none())
      .def("scores", [](Model &model, const Ids &ids, const Ids &labels, const std::optional<Ids> &positions) {
        const train::TokenBatch batch = batchOf(ids, labels, positions);
        const train::LabelScores scores = model.alone([&](train::Model &m) { return m.scores(batch); });
        py::array_t<double> logs({batch.B, batch.T});
        py::array_t<bool> likeliest({batch.B, batch.T});
        std::ranges::copy(scores.logProbability, logs.mutable_data());
        std::ranges::copy(scores.isLikeliest, likeliest.mutable_data());
        return std::make_pair(logs, likeliest);
      }, py::arg("ids"), py::arg("labels"), py::arg("positions") = py::none())
      .def("loss", [](Model &model, const Ids &ids, const Ids &labels, const std::optional<Ids> &positions,
                      bool gradients) {
        const train::TokenBatch batch = batchOf(ids, labels, positions);
        const train::LossResult result = model.alone(
            [&](train::Model &m) { return gradients ? m.lossAndGradients(batch) : m.evalLoss(batch); });
        return std::make_pair(result.loss, result.count);
      }, py::arg("ids"), py::arg("labels"), py::arg("positions") = py::none(), py::arg("gradients") = false)
      .def("train_step", [](Model &model, const std::vector<std::tuple<Ids, Ids, std::optional<Ids>>> &microBatches,
                            int64_t step, double lr, double beta1, double beta2, double eps, double weightDecay,
                            double maxNorm) {
        std::vector<train::TokenBatch> batches;
        for (const auto &[ids, labels, positions] : microBatches)
          batches.push_back(batchOf(ids, labels, positions));
        const train::StepConfig config{lr, beta1, beta2, eps, weightDecay, maxNorm, step};
        const train::StepResult result = model.alone([&](train::Model &m) { return m.trainStep(batches, config); });
        return std::make_tuple(result.loss, result.gradNorm, result.skipped);
      }, py::arg("micro_batches"), py::kw_only(), py::arg("step"), py::arg("lr"), py::arg("beta1"), py::arg("beta2"),
         py::arg("eps"), py::arg("weight_decay"), py::arg("max_norm"))
      .def("log_likelihoods", &logLikelihoods, py::arg("ids"), py::arg("scored"), py::arg("batch"))
      .def("perplexity", [](Model &model, const py::array_t<int32_t, py::array::c_style | py::array::forcecast> &ids,
                            int64_t B, int64_t T) {
        const std::span<const int32_t> tokens(ids.data(), size_t(ids.size()));
        const eval::PerplexityResult result = model.alone(
            [&](train::Model &m) { return eval::perplexity(m, eval::TokenStream::of(tokens), B, T); });
        return std::make_pair(result.nats, result.predicted);
      }, py::arg("ids"), py::arg("batch"), py::arg("seq"))
      .def("decoder", [](Model &model, int64_t B) { return std::make_unique<Decoder>(model, B); }, py::arg("batch"),
           py::keep_alive<0, 1>());

  py::class_<Decoder>(module, "Decoder", "Token by token: the recurrent state stays between calls.")
      .def("feed", &Decoder::feed, py::arg("ids"), py::arg("positions") = py::none());

  module.def("initialise", [](const std::string &init, const std::string &name, uint64_t seed, const py::array &array) {
    const Borrowed target(name, array, true, kUnused);
    train::initialise(train::parseInit(init, name), name, seed,
                      {target.view().dtype, target.view().data, runtime::elementCount(target.view().shape)});
  }, "Fills an array as a model's weight of this name.");
  module.def("find_checkpoint", &findCheckpoint, py::call_guard<py::gil_scoped_release>(),
             "The newest usable checkpoint at a path, and its run.json.");
  module.def("sample_token", [](const py::array_t<double, py::array::c_style | py::array::forcecast> &logits,
                                double temperature, double topP, uint64_t seed, uint64_t position) {
    return train::sampleToken({logits.data(), size_t(logits.size())}, {temperature, topP, seed}, position);
  });
}
