//===- Nvrtc.cpp - CUDA C++ to machine code at run time ---------*- C++ -*-===//
#include "runtime/cuda/Nvrtc.h"

#include "runtime/core/Error.h"
#include "runtime/cuda/SharedLibrary.h"

#include <regex>

using namespace tidegate::runtime;
using namespace tidegate::runtime::cuda;

using Program = struct OpaqueProgram *;

/// The C interface, as far as it is used; 0 is success.
struct Nvrtc::Functions {
  int (*version)(int *major, int *minor);
  const char *(*errorString)(int);
  int (*create)(Program *, const char *source, const char *name, int headers, const char *const *texts,
                const char *const *names);
  int (*destroy)(Program *);
  int (*compile)(Program, int options, const char *const *);
  int (*cubinSize)(Program, size_t *);
  int (*cubin)(Program, char *);
  int (*logSize)(Program, size_t *);
  int (*log)(Program, char *);
};

namespace {

constexpr int kCompilationError = 6; // NVRTC_ERROR_COMPILATION: of the program

const SharedLibrary &library() {
  static const SharedLibrary instance("CUDA's run-time compiler", "TIDEGATE_NVRTC",
                                      toolkitNames("libnvrtc.so", {13, 12}), "install NVRTC of CUDA 12 or 13");
  return instance;
}

/// Frees a program on every way out.
struct Guard {
  Program program = nullptr;
  int (*destroy)(Program *);
  ~Guard() { destroy(&program); }
};

} // namespace

Nvrtc::Functions Nvrtc::functions() {
  Functions f;
  library().find(f.version, "nvrtcVersion");
  library().find(f.errorString, "nvrtcGetErrorString");
  library().find(f.create, "nvrtcCreateProgram");
  library().find(f.destroy, "nvrtcDestroyProgram");
  library().find(f.compile, "nvrtcCompileProgram");
  library().find(f.cubinSize, "nvrtcGetCUBINSize");
  library().find(f.cubin, "nvrtcGetCUBIN");
  library().find(f.logSize, "nvrtcGetProgramLogSize");
  library().find(f.log, "nvrtcGetProgramLog");
  return f;
}

Nvrtc::Nvrtc() {
  if (!library().whyMissing().empty())
    throw RuntimeError(RuntimeError::Kind::NotFound, library().whyMissing());
}

const Nvrtc &Nvrtc::get() {
  static const Nvrtc nvrtc;
  return nvrtc;
}

std::string Nvrtc::whyMissing() { return library().whyMissing(); }

std::string Nvrtc::version() const {
  int major = 0, minor = 0;
  functions().version(&major, &minor);
  return std::to_string(major) + "." + std::to_string(minor);
}

CompiledProgram Nvrtc::compile(const ProgramText &text, const std::string &architecture) const {
  const Functions f = functions();
  auto check = [&](int status, const char *doing) {
    if (status)
      throw RuntimeError(RuntimeError::Kind::Internal,
                         "'" + text.name + "': " + doing + " failed: " + f.errorString(status));
  };
  std::vector<const char *> names, texts;
  for (const auto &[name, header] : text.headers) {
    names.push_back(name.c_str());
    texts.push_back(header.c_str());
  }
  Guard guard{nullptr, f.destroy};
  check(f.create(&guard.program, text.source.c_str(), text.name.c_str(), static_cast<int>(names.size()), texts.data(),
                 names.data()),
        "creating a program");

  std::vector<std::string> options = {"--gpu-architecture=" + architecture, "--std=c++17", "-default-device",
                                      "--extra-device-vectorization", "--ptxas-options=-v"};
  for (const std::string &define : text.defines)
    options.push_back("-D" + define);
  std::vector<const char *> raw;
  for (const std::string &option : options)
    raw.push_back(option.c_str());
  int status = f.compile(guard.program, static_cast<int>(raw.size()), raw.data());

  size_t size = 0;
  check(f.logSize(guard.program, &size), "reading the log");
  std::string log(size, '\0');
  check(f.log(guard.program, log.data()), "reading the log");
  if (status == kCompilationError)
    throw ProgramError(text.name, architecture, log.c_str());
  if (status)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument, "NVRTC " + version() + " does not compile for " +
                                                                architecture + ": " + f.errorString(status) + "\n" +
                                                                log.c_str());
  CompiledProgram result;
  check(f.cubinSize(guard.program, &size), "reading the machine code");
  result.cubin.resize(size);
  check(f.cubin(guard.program, result.cubin.data()), "reading the machine code");
  result.kernels = kernelUses(log);
  return result;
}

std::vector<KernelUse> cuda::kernelUses(std::string_view log) {
  static const std::regex kName("Compiling entry function '([^']*)'"), kSpill("(\\d+) bytes spill (?:stores|loads)"),
      kRegisters("Used (\\d+) registers"), kShared("(\\d+) bytes smem");
  std::vector<KernelUse> uses;
  auto number = [](const std::cmatch &match) { return std::stoi(match[1]); };
  for (size_t begin = 0; begin < log.size();) {
    size_t end = std::min(log.find('\n', begin), log.size());
    const char *first = log.data() + begin, *last = log.data() + end;
    std::cmatch match;
    if (std::regex_search(first, last, match, kName))
      uses.push_back({match[1]});
    if (!uses.empty()) {
      for (std::cregex_iterator it(first, last, kSpill), none; it != none; ++it)
        uses.back().spillBytes += number(*it);
      if (std::regex_search(first, last, match, kRegisters))
        uses.back().registers = number(match);
      if (std::regex_search(first, last, match, kShared))
        uses.back().sharedBytes = number(match);
    }
    begin = end + 1;
  }
  return uses;
}
