//===- SharedLibrary.h - A library opened at run time -----------*- C++ -*-===//
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

namespace tidegate::runtime::cuda {

/// Opened once and never closed: what it started may outlive us.
class SharedLibrary {
public:
  /// Opens the first of `names` that can be; only the file that the environment names in `variable`, if it does.
  /// `what` ("CUDA's run-time compiler") and `advice` ("install ...") are for messages.
  SharedLibrary(std::string what, const char *variable, std::vector<std::string> names, const std::string &advice);

  /// Why there is none; empty if there is.
  const std::string &whyMissing() const { return why; }

  /// Errors: RuntimeError NotFound without the library or without the function.
  template <typename F>
  void find(F &function, const char *name) const {
    function = reinterpret_cast<F>(symbol(name));
  }

private:
  void *symbol(const char *name) const;

  std::string what, why;
  void *handle = nullptr;
};

/// Where a library of the CUDA toolkit may be: `stem`.VERSION on the loader's path, then in the toolkit's folder
/// (CUDA_HOME, else /usr/local/cuda).
std::vector<std::string> toolkitNames(const std::string &stem, std::initializer_list<int> versions);

} // namespace tidegate::runtime::cuda
