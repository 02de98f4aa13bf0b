//===- KernelCache.h - Machine code kept between runs -----------*- C++ -*-===//
// One file per program, named by a hash of everything that decides the result:
// text, headers, defines, architecture, version of the compiler. The file holds
// that text too, so that a collision of hashes is noticed, and a checksum. Files
// appear whole or not at all; a damaged one is compiled again and replaced.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/cuda/Nvrtc.h"

#include <functional>
#include <optional>

namespace tidegate::runtime::cuda {

class KernelCache {
public:
  /// Keeps files in `directory`, created when first needed; empty: keeps nothing.
  explicit KernelCache(std::string directory) : directory(std::move(directory)) {}

  /// TIDEGATE_CACHE if set (it may be empty), else tidegate/ in XDG_CACHE_HOME or ~/.cache; empty without a home.
  static std::string defaultDirectory();

  /// Everything that decides the machine code.
  static std::string keyOf(const ProgramText &program, const std::string &architecture, const std::string &version);

  /// The program of a key, if a whole one is there.
  std::optional<CompiledProgram> find(const std::string &key) const;
  /// Keeps a program. False, and no error, where the directory cannot be written.
  bool store(const std::string &key, const CompiledProgram &program) const;

  /// Finds, or compiles and stores.
  CompiledProgram get(const ProgramText &program, const std::string &architecture) const;

  /// The file of a key.
  std::string pathOf(const std::string &key) const;

private:
  std::string directory;
};

} // namespace tidegate::runtime::cuda
