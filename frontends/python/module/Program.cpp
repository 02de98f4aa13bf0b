//===- Program.cpp - Compile and call ---------------------------*- C++ -*-===//
// Compiling and running release the GIL. An executor has one arena, so calls of
// one entry from several threads wait for each other.
//===----------------------------------------------------------------------===//
#include "frontends/python/module/Module.h"
#include "frontends/python/module/Tensors.h"

#include <mutex>
#include <omp.h>
#include <pybind11/stl.h>

namespace py = pybind11;
using namespace tidegate;
using namespace tidegate::python;

namespace {

template <typename T>
T choice(const std::string &option, const std::string &given,
         std::initializer_list<std::pair<const char *, T>> choices) {
  std::string valid;
  for (const auto &[name, value] : choices) {
    if (given == name)
      return value;
    valid += (valid.empty() ? "'" : ", '") + std::string(name) + "'";
  }
  throw py::value_error(option + ": expected one of " + valid + ", but got '" + given + "'");
}

CompileOptions optionsOf(const std::string &device, const std::string &precision, const std::string &form,
                         int64_t chunk, int threads, bool documents, const std::string &lowRank) {
  CompileOptions options;
  options.target = choice<Target>("device", device, {{"cpu", Target::Cpu}, {"cuda", Target::Cuda}});
  options.precision = choice<Precision>("precision", precision, {{"f32", Precision::F32}, {"f64", Precision::F64}, {"bf16", Precision::BF16}});
  options.form = choice<ScanForm>("form", form, {{"chunk", ScanForm::Chunk}, {"token", ScanForm::Token}});
  options.lowRank = choice<LowRank>("low_rank", lowRank, {{"stored", LowRank::Stored}, {"fused", LowRank::Fused}});
  if (chunk < 0 || threads < 0)
    throw py::value_error("chunk and threads: expected 0 (the compiler's choice) or more");
  options.chunk = chunk;
  options.threads = threads;
  options.documents = documents;
  return options;
}

/// The threads of executors made in its scope.
class ThreadLimit {
public:
  explicit ThreadLimit(int threads) : before(omp_get_max_threads()) {
    if (threads > 0)
      omp_set_num_threads(threads);
  }
  ~ThreadLimit() { omp_set_num_threads(before); }

private:
  int before;
};

/// A compiled function.
class Entry {
public:
  Entry(const Program &program, const std::string &name, const std::map<std::string, std::vector<int64_t>> &shapes,
        const std::map<std::string, int64_t> &sizes, const std::set<std::string> &half)
      : threads(program.options.threads),
        entry(compileEntry(program.source, name, program.options, shapes, sizes, half)) {}

  const std::vector<ValueSpec> &inputs() const { return entry->inputs(); }
  const std::vector<ValueSpec> &outputs() const { return entry->outputs(); }

  std::pair<int64_t, int64_t> sizes(const py::dict &inputs) {
    const CallSizes sizes = entry->sizesOf(BorrowedTensors(inputs, false, kUnused).views());
    return {sizes.B, sizes.T};
  }
  void run(const py::dict &inputs, const py::dict &outputs, int64_t stream) {
    const BorrowedTensors in(inputs, false, stream), out(outputs, true, stream);
    alone([&] { entry->runOn(in.views(), out.views(), streamOf(stream)); });
  }
  void vjp(const py::dict &inputs, const py::dict &cotangents, const py::dict &gradients, int64_t stream) {
    const BorrowedTensors in(inputs, false, stream), seeds(cotangents, false, stream), out(gradients, true, stream);
    alone([&] { entry->vjpOn(in.views(), seeds.views(), out.views(), streamOf(stream)); });
  }

private:
  static void *streamOf(int64_t handle) { return reinterpret_cast<void *>(handle); }

  template <typename F>
  void alone(const F &work) {
    py::gil_scoped_release release;
    std::lock_guard lock(mutex);
    ThreadLimit limit(threads);
    work();
  }

  int threads;
  std::mutex mutex;
  std::unique_ptr<EntryProgram> entry;
};

py::list specsOf(const std::vector<ValueSpec> &specs) {
  py::list list;
  for (const ValueSpec &spec : specs) {
    py::list shape;
    for (int64_t size : spec.shape)
      size == ValueSpec::kBatch  ? shape.append("B")
      : size == ValueSpec::kTime ? shape.append("T")
                                 : shape.append(size);
    list.append(py::make_tuple(spec.name, py::tuple(shape), std::string(runtime::dtypeName(spec.dtype))));
  }
  return list;
}

ProgramSource sourceOf(const std::string &path, const ParamList &params, const std::vector<std::pair<std::string, std::string>> &files) {
  ProgramSource source{path, params, {}};
  for (const auto &[name, text] : files)
    source.files.push_back({name, text});
  return source;
}

py::list weightsOf(const Program &program) {
  std::vector<train::ParameterSpec> specs;
  {
    py::gil_scoped_release release;
    specs = modelParameters(program.source);
  }
  py::list list;
  for (const train::ParameterSpec &spec : specs)
    list.append(py::make_tuple(spec.name, py::tuple(py::cast(spec.shape)), spec.init, spec.decay));
  return list;
}

using EntryTuple = std::tuple<std::string, std::string, std::vector<std::string>, std::vector<std::string>>;
std::vector<EntryTuple> entriesOf(const Program &program) {
  std::vector<EntryTuple> list;
  for (const EntryPoint &entry : entryPoints(program.source))
    list.emplace_back(entry.name, entry.kind, entry.tensors, entry.open);
  return list;
}

std::vector<std::pair<std::string, std::string>> filesOf(const Program &program) {
  std::vector<std::pair<std::string, std::string>> list;
  for (const SourceFile &file : sourceFiles(program.source))
    list.emplace_back(file.path, file.text);
  return list;
}

} // namespace

void python::bindProgram(py::module_ &module) {
  using Release = py::call_guard<py::gil_scoped_release>;

  py::class_<Program>(module, "Program", "A program with its params, and how it is compiled.")
      .def(py::init([](const std::string &path, const ParamList &params,
                       const std::vector<std::pair<std::string, std::string>> &files, const std::string &device,
                       const std::string &precision, const std::string &form, int64_t chunk, int threads,
                       bool documents, const std::string &lowRank) {
             return Program{sourceOf(path, params, files),
                            optionsOf(device, precision, form, chunk, threads, documents, lowRank)};
           }),
           py::arg("path"), py::arg("params"), py::arg("files"), py::kw_only(), py::arg("device"),
           py::arg("precision"), py::arg("form"), py::arg("chunk"), py::arg("threads"), py::arg("documents"),
           py::arg("low_rank"))
      .def("params", [](const Program &program) { return programParams(program.source); }, Release())
      .def("weights", &weightsOf)
      .def("entries", &entriesOf, Release())
      .def("files", &filesOf, Release())
      .def("takes", [](const Program &program, const std::string &entry,
                       const std::string &tensor) { return entryTakes(program.source, entry, tensor); }, Release())
      .def("separates_documents", [](const Program &program) { return separatesDocuments(program.source); }, Release())
      .def("emit", [](const Program &program, const std::string &stage) {
             return emitStage(program.source, stage, program.options);
           }, Release())
      .def("plan", [](const Program &program, int64_t B, int64_t T, int64_t microBatches) {
             return planModel(program.source, B, T, program.options, microBatches).json;
           }, Release())
      .def("entry", [](const Program &program, const std::string &name,
                       const std::map<std::string, std::vector<int64_t>> &shapes,
                       const std::map<std::string, int64_t> &sizes, const std::set<std::string> &half) {
             return std::make_unique<Entry>(program, name, shapes, sizes, half);
           }, py::arg("name"), py::arg("shapes"), py::arg("sizes"), py::arg("half") = std::set<std::string>(),
           Release());

  py::class_<Entry>(module, "Entry", "A compiled function, layer or model.")
      .def_property_readonly("inputs", [](const Entry &entry) { return specsOf(entry.inputs()); })
      .def_property_readonly("outputs", [](const Entry &entry) { return specsOf(entry.outputs()); })
      .def_property_readonly("inits", [](const Entry &entry) {
        std::map<std::string, std::string> inits; // Of its weights.
        for (const ValueSpec &spec : entry.inputs())
          if (!spec.init.empty())
            inits.emplace(spec.name, spec.init);
        return inits;
      })
      .def("sizes", &Entry::sizes)
      .def("run", &Entry::run, py::arg("inputs"), py::arg("outputs"), py::arg("stream") = 0)
      .def("vjp", &Entry::vjp, py::arg("inputs"), py::arg("cotangents"), py::arg("gradients"), py::arg("stream") = 0);

  module.def("stages", &stages, "Names that emit takes, each with a line of help.");
}
