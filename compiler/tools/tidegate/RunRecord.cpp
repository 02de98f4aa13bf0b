//===- RunRecord.cpp - Programs in checkpoints ------------------*- C++ -*-===//
// A checkpoint keeps the text of every file, so the originals may change.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/RunRecord.h"

#include "runtime/core/Error.h"

#include <iostream>

using namespace tidegate;
using runtime::RuntimeError;

train::ProgramRecord tool::recordOf(const ProgramSource &source) {
  train::ProgramRecord record{source.path, source.params, {}};
  for (const SourceFile &file : sourceFiles(source))
    record.files.emplace_back(file.path, file.text);
  return record;
}

ProgramSource tool::sourceOf(const train::ProgramRecord &record) {
  ProgramSource source{record.path, record.params, {}};
  for (const auto &[path, text] : record.files)
    source.files.push_back({path, text});
  return source;
}

train::FoundCheckpoint tool::findUsableCheckpoint(const std::string &path) {
  train::FoundCheckpoint found = train::findCheckpoint(path);
  for (const std::string &reason : found.skipped)
    std::cerr << "passed over: " << reason << "\n";
  if (!found.path)
    throw RuntimeError(RuntimeError::Kind::NotFound, "expected a checkpoint (step-N) in '" + path + "', but it has " +
                                                         (found.skipped.empty() ? "none" : "no usable one"));
  return found;
}
