//===- Nvrtc.h - CUDA C++ to machine code at run time -----------*- C++ -*-===//
// The compiler library is loaded when it is first needed; no GPU is.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/core/Error.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tidegate::runtime::cuda {

/// A program for NVRTC. `name` appears in messages.
struct ProgramText {
  std::string name, source;
  std::vector<std::pair<std::string, std::string>> headers; ///< name as included, text
  std::vector<std::string> defines;                         ///< "NAME=VALUE"
};

/// What the assembler says of one kernel.
struct KernelUse {
  std::string kernel;
  int registers = 0;
  int spillBytes = 0;  ///< stored and loaded per thread
  int sharedBytes = 0; ///< static
  bool operator==(const KernelUse &) const = default;
};

struct CompiledProgram {
  std::string cubin;
  std::vector<KernelUse> kernels;
};

/// NVRTC does not compile a program: RuntimeError InvalidArgument.
class ProgramError : public RuntimeError {
public:
  ProgramError(const std::string &program, const std::string &architecture, const std::string &log)
      : RuntimeError(Kind::InvalidArgument, "'" + program + "' does not compile for " + architecture + ":\n" + log),
        program(program), architecture(architecture), log(log) {}

  std::string program; ///< ProgramText::name
  std::string architecture;
  std::string log; ///< "NAME(LINE): error: ..."
};

class Nvrtc {
public:
  /// The library, opened at the first call. RuntimeError NotFound says what is missing and where it was looked
  /// for; TIDEGATE_NVRTC=PATH names another file.
  static const Nvrtc &get();
  /// Why there is none; empty if there is.
  static std::string whyMissing();

  /// "13.0".
  std::string version() const;

  /// Compiles for `architecture`, such as "sm_90a". Errors: ProgramError with NVRTC's log; RuntimeError
  /// InvalidArgument where NVRTC does not know the architecture.
  CompiledProgram compile(const ProgramText &program, const std::string &architecture) const;

private:
  Nvrtc();
  struct Functions;
  static Functions functions();
};

/// Reads the assembler's `-v` report.
std::vector<KernelUse> kernelUses(std::string_view log);

} // namespace tidegate::runtime::cuda
