//===- WeightFiles.h - Weights of a reference checkpoint --------*- C++ -*-===//
// DIR/model.safetensors, or the shards that DIR/model.safetensors.index.json
// lists. What does not fit a model is told all at once.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/core/Safetensors.h"
#include "runtime/train/Model.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace tidegate::train {

class WeightFiles {
public:
  /// Opens the files of a directory. Errors: NotFound, Io, Corrupt (also when a
  /// shard lacks a tensor that the index places in it, holds one that the index
  /// does not, or two shards hold one tensor).
  explicit WeightFiles(const std::string &directory);

  /// The element type of the weights; of the widest if they differ.
  runtime::Dtype dtype() const;

  /// InvalidArgument unless the files hold exactly these tensors, all floating,
  /// in these shapes; the message lists every missing tensor, every unknown one
  /// with the nearest missing name, and every wrong shape.
  void check(const std::vector<ParameterSpec> &parameters) const;

  /// Copies one tensor, rounding to the target's type.
  void readInto(const ParameterSpec &spec, runtime::HostSpan target) const;

private:
  const runtime::SafetensorsFile &fileOf(const std::string &name) const { return *files.at(where.at(name)); }
  void openShards(const std::string &directory, const std::string &indexPath);

  std::string directory;
  std::vector<std::unique_ptr<runtime::SafetensorsFile>> files;
  std::map<std::string, size_t> where; ///< Tensor to file.
};

} // namespace tidegate::train
