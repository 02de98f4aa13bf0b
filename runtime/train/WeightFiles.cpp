//===- WeightFiles.cpp - One file or shards with an index -------*- C++ -*-===//
// The index is {"weight_map": {tensor: file}, ...}; file names are relative to
// its directory.
//===----------------------------------------------------------------------===//
#include "runtime/train/WeightFiles.h"

#include "runtime/core/Error.h"
#include "runtime/core/Suggest.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

using namespace tidegate::train;
using namespace tidegate::runtime;
namespace fs = std::filesystem;

namespace {

constexpr const char *kSingle = "model.safetensors", *kIndex = "model.safetensors.index.json";

[[noreturn]] void corrupt(const std::string &path, const std::string &finding) {
  throw RuntimeError(RuntimeError::Kind::Corrupt, "'" + path + "': " + finding);
}

} // namespace

WeightFiles::WeightFiles(const std::string &directory) : directory(directory) {
  if (!fs::is_directory(directory))
    throw RuntimeError(RuntimeError::Kind::NotFound, "expected a directory, but '" + directory +
                                                         (fs::exists(directory) ? "' is a file" : "' does not exist"));
  const std::string single = directory + "/" + kSingle, index = directory + "/" + kIndex;
  if (fs::exists(single)) {
    files.push_back(std::make_unique<SafetensorsFile>(single));
    for (const auto &[name, entry] : files.front()->entries())
      where[name] = 0;
  } else if (fs::exists(index)) {
    openShards(directory, index);
  } else {
    throw RuntimeError(RuntimeError::Kind::NotFound,
                       "expected " + std::string(kSingle) + " or " + kIndex + " in '" + directory + "'");
  }
}

void WeightFiles::openShards(const std::string &directory, const std::string &indexPath) {
  std::map<std::string, std::string> shardOf;
  try {
    shardOf = nlohmann::json::parse(MappedFile(indexPath).text())
                  .at("weight_map")
                  .get<std::map<std::string, std::string>>();
  } catch (const nlohmann::json::exception &) {
    corrupt(indexPath, "expected a JSON object with a 'weight_map' of tensors to files");
  }
  std::set<std::string> shards;
  for (const auto &[name, shard] : shardOf) {
    if (shard.empty() || shard.find('/') != std::string::npos)
      corrupt(indexPath, "expected the name of a file beside it for tensor '" + name + "', but got '" + shard + "'");
    shards.insert(shard);
  }
  for (const std::string &shard : shards) {
    files.push_back(std::make_unique<SafetensorsFile>(directory + "/" + shard));
    for (const auto &[name, entry] : files.back()->entries()) {
      auto placed = shardOf.find(name);
      if (placed == shardOf.end() || placed->second != shard)
        corrupt(indexPath, "tensor '" + name + "' lies in " + shard + ", but the index places it " +
                               (placed == shardOf.end() ? "nowhere" : "in " + placed->second));
      where[name] = files.size() - 1;
    }
  }
  for (const auto &[name, shard] : shardOf)
    if (!where.count(name))
      corrupt(indexPath, "expected tensor '" + name + "' in " + shard + ", but it is not there");
}

Dtype WeightFiles::dtype() const {
  Dtype widest = Dtype::BF16;
  for (const auto &file : files)
    for (const auto &[name, entry] : file->entries())
      if (isFloating(entry.dtype) && (widest == Dtype::BF16 || dtypeSize(entry.dtype) > dtypeSize(widest)))
        widest = entry.dtype;
  return widest;
}

void WeightFiles::check(const std::vector<ParameterSpec> &parameters) const {
  std::string findings;
  std::vector<std::string> missing;
  std::set<std::string> known;
  int count = 0;
  auto add = [&](const std::string &finding) {
    findings += "\n  " + finding;
    ++count;
  };
  for (const ParameterSpec &spec : parameters) {
    known.insert(spec.name);
    if (!where.count(spec.name)) {
      missing.push_back(spec.name);
      add("missing: '" + spec.name + "' " + shapeText(spec.shape));
      continue;
    }
    const auto &entry = fileOf(spec.name).entries().at(spec.name);
    if (entry.shape != spec.shape)
      add("shape: '" + spec.name + "' is " + shapeText(entry.shape) + ", expected " + shapeText(spec.shape));
    if (!isFloating(entry.dtype))
      add("type: '" + spec.name + "' is " + std::string(dtypeName(entry.dtype)) + ", expected floating-point values");
  }
  for (const auto &[name, file] : where)
    if (!known.count(name))
      add("unknown: '" + name + "' " + shapeText(fileOf(name).entries().at(name).shape) + didYouMean(name, missing));
  if (count)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       "the tensors of '" + directory + "' do not fit the model of its config.json (" +
                           std::to_string(count) + (count == 1 ? " finding):" : " findings):") + findings);
}

void WeightFiles::readInto(const ParameterSpec &spec, HostSpan target) const {
  fileOf(spec.name).readInto(spec.name, spec.shape, target);
}
