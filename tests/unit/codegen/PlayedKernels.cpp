//===- PlayedKernels.cpp - CUDA kernels run on the CPU ----------------------===//
#include "tests/unit/codegen/PlayedKernels.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <unistd.h>

using namespace tidegate;
namespace fs = std::filesystem;

namespace {
using Entry = void (*)(void *const *buffers, long long items, long long B, long long T, long long blocks);
using SetSchedule = int (*)(int);
std::vector<SetSchedule> setters;

/// One shared library for all kernels of one block size; it stays loaded.
void *compile(const std::vector<const cuda::KernelSource *> &kernels, int number, bool findsRaces) {
  fs::path folder = fs::temp_directory_path() / ("tidegate-played-" + std::to_string(getpid()));
  fs::create_directories(folder);
  fs::path source = folder / ("kernels" + std::to_string(number) + ".cpp"), library = source;
  library.replace_extension(".so");
  {
    std::ofstream out(source);
    out << "#include \"tests/unit/device/SoftwareWarp.h\"\n";
    for (const cuda::KernelSource *kernel : kernels)
      out << kernel->text << "\n";
    out << "extern \"C\" int set_schedule(int i) {\n"
           "  auto all = tidegate::device::Schedule::all();\n"
           "  tidegate::device::playedSchedule() = all[i % all.size()];\n"
           "  return static_cast<int>(all.size());\n}\n";
  }
  fs::path log = folder / "log", object = source;
  object.replace_extension(".o");
  const auto run = [&](const std::string &command) {
    return std::system((command + " 2>> '" + log.string() + "'").c_str()) == 0;
  };
  const std::string both = "c++ -fsanitize=alignment -fno-sanitize-recover=all -fPIC ";
  // The text has what accesses are reported to (RaceCheck.h): the thread sanitizer's library is not linked.
  const std::string reports = findsRaces ? "-fsanitize=thread -fno-threadsafe-statics -g1 " : "";
  if (!run(both + reports + "-std=c++20 -O1 -w -fno-gnu-unique -I" TIDEGATE_SOURCE_DIR " -c '" + source.string() +
           "' -o '" + object.string() + "'") ||
      !run(both + "-shared '" + object.string() + "' -o '" + library.string() + "'")) {
    std::ostringstream text;
    text << std::ifstream(log).rdbuf();
    throw std::runtime_error("generated kernels do not compile on the CPU:\n" + text.str().substr(0, 4000));
  }
  void *handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    throw std::runtime_error(dlerror());
  setters.push_back(reinterpret_cast<SetSchedule>(dlsym(handle, "set_schedule")));
  if (!std::getenv("TIDEGATE_KEEP_PLAYED"))
    fs::remove_all(folder);
  return handle;
}
} // namespace

void played::playKernels(runtime::Plan &plan, const std::vector<cuda::KernelSource> &kernels, bool findsRaces) {
  std::map<int, std::vector<const cuda::KernelSource *>> bySize;
  for (const cuda::KernelSource &kernel : kernels)
    if (std::any_of(plan.kernels.begin(), plan.kernels.end(), [&](const auto &k) { return k.name == kernel.name; }))
      bySize[kernel.threads].push_back(&kernel);
  static int libraries = 0;
  for (const auto &[threads, group] : bySize) {
    void *handle = compile(group, libraries++, findsRaces);
    for (const cuda::KernelSource *kernel : group) {
      auto entry = reinterpret_cast<Entry>(dlsym(handle, kernel->name.c_str()));
      for (runtime::Kernel &planned : plan.kernels)
        if (planned.name == kernel->name)
          planned.whole = [entry, perBlock = kernel->itemsPerBlock, most = std::min<int64_t>(kernel->maxBlocks, 7)](
                              void *const *buffers, int64_t items, int64_t B, int64_t T) {
            // Few blocks where a block takes what it finds: each then has several rounds.
            int64_t blocks = (items + perBlock - 1) / perBlock;
            if (perBlock > 1)
              blocks = std::min(blocks, most);
            entry(buffers, items, B, T, blocks);
            return blocks;
          };
    }
  }
}

void played::setSchedule(int number) {
  for (SetSchedule set : setters)
    set(number);
}
int played::numSchedules() { return setters.empty() ? 1 : setters.front()(0); }
