//===- SharedLibrary.cpp - A library opened at run time ---------*- C++ -*-===//
#include "runtime/cuda/SharedLibrary.h"

#include "runtime/core/Error.h"

#include <cstdlib>
#include <dlfcn.h>

using namespace tidegate::runtime;
using namespace tidegate::runtime::cuda;

SharedLibrary::SharedLibrary(std::string name, const char *variable, std::vector<std::string> names,
                             const std::string &advice)
    : what(std::move(name)) {
  if (const char *wanted = std::getenv(variable); wanted && *wanted)
    names = {wanted};
  std::string tried;
  for (const std::string &file : names) {
    if ((handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)))
      return;
    tried += (tried.empty() ? "" : ", ") + file;
  }
  why = what + " was not found (tried " + tried + "); " + advice + ", or name its library in " + variable;
}

void *SharedLibrary::symbol(const char *name) const {
  if (!handle)
    throw RuntimeError(RuntimeError::Kind::NotFound, why);
  void *found = dlsym(handle, name);
  if (!found)
    throw RuntimeError(RuntimeError::Kind::NotFound,
                       what + " has no function '" + name + "'; expected that of CUDA 12 or 13");
  return found;
}

std::vector<std::string> cuda::toolkitNames(const std::string &stem, std::initializer_list<int> versions) {
  const char *home = std::getenv("CUDA_HOME");
  const std::string folder = home && *home ? home : "/usr/local/cuda";
  std::vector<std::string> names;
  for (int version : versions)
    names.push_back(stem + "." + std::to_string(version));
  names.push_back(stem);
  for (int version : versions)
    names.push_back(folder + "/lib64/" + stem + "." + std::to_string(version));
  return names;
}
