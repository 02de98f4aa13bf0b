//===- Data.cpp - Tokenizers and shards -------------------------*- C++ -*-===//
#include "frontends/python/module/Module.h"
#include "runtime/data/Shard.h"
#include "runtime/data/Tokenizer.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

namespace py = pybind11;
using namespace tidegate;

namespace {
py::bytes decoded(const data::Tokenizer &tokenizer, const std::vector<int32_t> &ids) {
  return py::bytes(tokenizer.decode(ids)); // May end inside a character.
}
} // namespace

void python::bindData(py::module_ &module) {
  using data::ShardWriter, data::Tokenizer;
  using Release = py::call_guard<py::gil_scoped_release>;

  py::class_<Tokenizer, std::shared_ptr<Tokenizer>>(module, "Tokenizer", "Text to ids and back.")
      .def(py::init([](const std::string &spec) {
             return std::const_pointer_cast<Tokenizer>(data::openTokenizer(spec));
           }),
           Release())
      .def("encode", [](const Tokenizer &tokenizer, const std::string &text) { return tokenizer.encode(text); },
           Release())
      .def("decode_bytes", &decoded)
      .def_property_readonly("vocab", &Tokenizer::vocab)
      .def_property_readonly("bos", &Tokenizer::bos)
      .def_property_readonly("eos", &Tokenizer::eos)
      .def_property_readonly("hash", &Tokenizer::hash)
      .def_property_readonly("description", &Tokenizer::description)
      .def_property_readonly("prefix", &Tokenizer::prefix)
      .def_property_readonly("suffix", &Tokenizer::suffix);

  py::class_<ShardWriter>(module, "ShardWriter", "Writes one shard, which appears when it is complete.")
      .def(py::init<const std::string &, uint32_t, uint32_t, uint64_t>(), py::arg("path"), py::arg("number"),
           py::arg("vocab"), py::arg("tokenizer_hash"))
      .def("add_document", [](ShardWriter &writer, const py::array_t<int32_t, py::array::c_style | py::array::forcecast> &ids,
                              uint64_t sourceBytes) {
        writer.startDocument();
        writer.add({ids.data(), size_t(ids.size())});
        writer.countSource(sourceBytes);
      }, py::arg("ids"), py::arg("source_bytes"))
      .def("finish", [](ShardWriter &writer) {
        const data::ShardHeader head = writer.finish();
        py::dict facts; // As a data set's description lists a shard.
        facts["tokens"] = head.tokens;
        facts["documents"] = head.documents;
        facts["text_bytes"] = head.sourceBytes;
        facts["file_bytes"] = head.fileBytes();
        facts["crc32"] = head.payloadCrc;
        return facts;
      });
  module.def("shard_name", &data::shardName);
}
