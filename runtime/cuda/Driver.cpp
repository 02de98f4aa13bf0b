//===- Driver.cpp - The GPU through CUDA's driver interface -----*- C++ -*-===//
// The C interface is declared here as far as it is used, so that no toolkit is
// needed to build. Names and values are those of CUDA 12 and later.
//===----------------------------------------------------------------------===//
#include "runtime/cuda/Driver.h"

#include "runtime/core/Error.h"
#include "runtime/cuda/SharedLibrary.h"

#include <array>
#include <cstdlib>
#include <limits>
#include <optional>

using namespace tidegate::runtime;
using namespace tidegate::runtime::cuda;

namespace {

using Address = unsigned long long;

enum : int {
  kSuccess = 0,
  kOutOfMemory = 2,
  kNotReady = 600,
  kSharedBytesAttribute = 8, // of a function: most dynamic shared memory
  kMultiprocessors = 16,     // of a device, as those below
  kCacheBytes = 38,
  kMajor = 75,
  kMinor = 76,
  kSharedBytes = 97,
  kOldestDriver = 12000
};
constexpr unsigned kNonBlocking = 1, kRelaxedCapture = 2;

/// 0 is success.
struct Functions {
  int (*errorName)(int, const char **), (*errorString)(int, const char **);
  int (*init)(unsigned), (*driverVersion)(int *);
  int (*deviceCount)(int *), (*deviceGet)(int *, int), (*deviceName)(char *, int, int),
      (*deviceAttribute)(int *, int, int), (*retainContext)(void **, int), (*setContext)(void *);
  int (*memoryInfo)(size_t *, size_t *), (*allocate)(Address *, size_t), (*free)(Address),
      (*allocateHost)(void **, size_t, unsigned), (*freeHost)(void *);
  int (*toDevice)(Address, const void *, size_t, void *), (*toHost)(void *, Address, size_t, void *),
      (*onDevice)(Address, Address, size_t, void *), (*fill)(Address, unsigned char, size_t, void *);
  int (*createStream)(void **, unsigned), (*destroyStream)(void *), (*synchronizeStream)(void *),
      (*waitEvent)(void *, void *, unsigned);
  int (*createEvent)(void **, unsigned), (*destroyEvent)(void *), (*recordEvent)(void *, void *), (*queryEvent)(void *),
      (*synchronizeEvent)(void *), (*elapsed)(float *, void *, void *);
  int (*loadModule)(void **, const void *), (*unloadModule)(void *), (*moduleFunction)(void **, void *, const char *),
      (*setFunctionAttribute)(void *, int, int), (*occupancy)(int *, void *, int, size_t),
      (*launch)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **);
  int (*beginCapture)(void *, unsigned), (*endCapture)(void *, void **), (*instantiate)(void **, void *, uint64_t),
      (*launchGraph)(void *, void *), (*destroyGraph)(void *), (*destroyInstance)(void *);
};

std::string versionText(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

/// The library, the device and its context; or why not.
struct Opened {
  Functions f{};
  Device device;
  void *context = nullptr;
  std::string why;

  Opened() {
    const SharedLibrary library("NVIDIA's driver", "TIDEGATE_CUDA_DRIVER",
                                {"libcuda.so.1", "/usr/lib/x86_64-linux-gnu/libcuda.so.1", "/usr/lib64/libcuda.so.1",
                                 "/usr/lib/wsl/lib/libcuda.so.1"},
                                "install the driver of the GPU, or use --device cpu");
    why = library.whyMissing();
    if (!why.empty())
      return;
    try {
      findAll(library);
      why = start();
    } catch (const RuntimeError &error) {
      why = error.what();
    }
  }

  void findAll(const SharedLibrary &library) {
    library.find(f.errorName, "cuGetErrorName");
    library.find(f.errorString, "cuGetErrorString");
    library.find(f.init, "cuInit");
    library.find(f.driverVersion, "cuDriverGetVersion");
    library.find(f.deviceCount, "cuDeviceGetCount");
    library.find(f.deviceGet, "cuDeviceGet");
    library.find(f.deviceName, "cuDeviceGetName");
    library.find(f.deviceAttribute, "cuDeviceGetAttribute");
    library.find(f.retainContext, "cuDevicePrimaryCtxRetain");
    library.find(f.setContext, "cuCtxSetCurrent");
    library.find(f.memoryInfo, "cuMemGetInfo_v2");
    library.find(f.allocate, "cuMemAlloc_v2");
    library.find(f.free, "cuMemFree_v2");
    library.find(f.allocateHost, "cuMemHostAlloc");
    library.find(f.freeHost, "cuMemFreeHost");
    library.find(f.toDevice, "cuMemcpyHtoDAsync_v2");
    library.find(f.toHost, "cuMemcpyDtoHAsync_v2");
    library.find(f.onDevice, "cuMemcpyDtoDAsync_v2");
    library.find(f.fill, "cuMemsetD8Async");
    library.find(f.createStream, "cuStreamCreate");
    library.find(f.destroyStream, "cuStreamDestroy_v2");
    library.find(f.synchronizeStream, "cuStreamSynchronize");
    library.find(f.waitEvent, "cuStreamWaitEvent");
    library.find(f.createEvent, "cuEventCreate");
    library.find(f.destroyEvent, "cuEventDestroy_v2");
    library.find(f.recordEvent, "cuEventRecord");
    library.find(f.queryEvent, "cuEventQuery");
    library.find(f.synchronizeEvent, "cuEventSynchronize");
    library.find(f.elapsed, "cuEventElapsedTime");
    library.find(f.loadModule, "cuModuleLoadData");
    library.find(f.unloadModule, "cuModuleUnload");
    library.find(f.moduleFunction, "cuModuleGetFunction");
    library.find(f.setFunctionAttribute, "cuFuncSetAttribute");
    library.find(f.occupancy, "cuOccupancyMaxActiveBlocksPerMultiprocessor");
    library.find(f.launch, "cuLaunchKernel");
    library.find(f.beginCapture, "cuStreamBeginCapture_v2");
    library.find(f.endCapture, "cuStreamEndCapture");
    library.find(f.instantiate, "cuGraphInstantiateWithFlags");
    library.find(f.launchGraph, "cuGraphLaunch");
    library.find(f.destroyGraph, "cuGraphDestroy");
    library.find(f.destroyInstance, "cuGraphExecDestroy");
  }

  std::string text(int status) const {
    const char *name = nullptr, *words = nullptr;
    if (!f.errorName || f.errorName(status, &name) != kSuccess || !name)
      return "CUDA error " + std::to_string(status);
    f.errorString(status, &words);
    return std::string(name) + (words ? " (" + std::string(words) + ")" : "");
  }

  /// Fills `device`; says why that fails.
  std::string start() {
    int version = 0, count = 0, handle = 0;
    if (int status = f.driverVersion(&version))
      return "NVIDIA's driver does not tell its version: " + text(status);
    if (version < kOldestDriver)
      return "NVIDIA's driver supports CUDA " + versionText(version) + ", but " + versionText(kOldestDriver) +
             " or newer is needed; update the driver, or use --device cpu";
    device.driverVersion = versionText(version);
    if (int status = f.init(0))
      return "no GPU can be used: " + text(status) + "; see what nvidia-smi says, or use --device cpu";
    if (int status = f.deviceCount(&count); status || count == 0)
      return "NVIDIA's driver shows no GPU" + (status ? ": " + text(status) : std::string()) +
             "; see CUDA_VISIBLE_DEVICES and nvidia-smi, or use --device cpu";
    int status = f.deviceGet(&handle, 0);
    std::array<char, 256> name{};
    status = status ? status : f.deviceName(name.data(), int(name.size()), handle);
    auto attribute = [&](int which) {
      int value = 0;
      status = status ? status : f.deviceAttribute(&value, which, handle);
      return value;
    };
    device.name = name.data();
    device.major = attribute(kMajor);
    device.minor = attribute(kMinor);
    device.architecture = architectureOf(device.major, device.minor);
    device.multiprocessors = attribute(kMultiprocessors);
    device.sharedBytes = attribute(kSharedBytes);
    device.cacheBytes = attribute(kCacheBytes);
    if (!status && device.major < 8)
      return "the GPU " + device.name + " has compute capability " + std::to_string(device.major) + "." +
             std::to_string(device.minor) + ", but 8.0 (Ampere) or newer is needed; use --device cpu";
    status = status ? status : f.retainContext(&context, handle);
    status = status ? status : f.setContext(context);
    size_t free = 0, total = 0;
    status = status ? status : f.memoryInfo(&free, &total);
    device.atStart = {int64_t(free), int64_t(total)};
    return status ? "the GPU " + device.name + " cannot be used: " + text(status) : "";
  }
};

const Opened &opened() {
  static const Opened instance; // the context stays until the process ends
  return instance;
}

/// The interface, with the context current in this thread.
const Functions &api() {
  const Opened &driver = opened();
  if (!driver.why.empty())
    throw RuntimeError(RuntimeError::Kind::Device, driver.why);
  thread_local bool isCurrent = false;
  if (!isCurrent) {
    if (int status = driver.f.setContext(driver.context))
      throw RuntimeError(RuntimeError::Kind::Device, "using the GPU in a thread: " + driver.text(status));
    isCurrent = true;
  }
  return driver.f;
}

/// Whether an error is of a kernel that ran before: an illegal or misaligned address, a failed assertion, ...
bool isOfEarlierWork(int status) { return status == 700 || status == 702 || (status >= 710 && status <= 719); }

/// An error in words; of one that may be of any kernel, how to learn of which.
std::string textWithHint(int status) {
  const bool isOpen = isOfEarlierWork(status) && !std::getenv("TIDEGATE_SYNC");
  return errorText(status) + (isOpen ? "; with TIDEGATE_SYNC=1 in the environment the error names its kernel" : "");
}

[[noreturn]] void fail(int status, const std::string &doing) {
  throw RuntimeError(RuntimeError::Kind::Device, doing + ": " + textWithHint(status));
}

void check(int status, const char *doing) {
  if (status != kSuccess)
    fail(status, doing);
}

/// Makes a handle: `create` fills in the pointer. Errors of `destroy` are those of earlier work, and told elsewhere.
template <typename Create>
Handle make(const char *doing, void (*destroy)(void *), Create &&create) {
  void *raw = nullptr;
  check(create(&raw), doing);
  return Handle(raw, {destroy});
}

Address addressOf(const void *pointer) { return reinterpret_cast<Address>(pointer); }

} // namespace

const Device &Device::get() {
  api();
  return opened().device;
}

std::string Device::whyMissing() { return opened().why; }

Device::Memory Device::memory() const {
  size_t free = 0, total = 0;
  check(api().memoryInfo(&free, &total), "asking for free memory");
  return {int64_t(free), int64_t(total)};
}

std::string cuda::architectureOf(int major, int minor) {
  return "sm_" + std::to_string(major) + std::to_string(minor) + (major >= 9 ? "a" : "");
}

std::string cuda::errorText(int status) { return opened().text(status); }

std::string cuda::bytesText(int64_t bytes) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.2f MiB", double(bytes) / (1 << 20));
  return text.data();
}

//===----------------------------------------------------------------------===//
// Streams and events
//===----------------------------------------------------------------------===//

Stream::Stream()
    : raw(make(
          "creating a stream", [](void *stream) { opened().f.destroyStream(stream); },
          [](void **to) { return api().createStream(to, kNonBlocking); })) {}

Stream Stream::borrowed(void *handle) { return Stream(Handle(handle, {[](void *) {}})); }

void Stream::synchronize() const { check(api().synchronizeStream(raw.get()), "waiting for the GPU"); }
std::string Stream::failure() const {
  const int status = api().synchronizeStream(raw.get());
  return isOfEarlierWork(status) ? textWithHint(status) : "";
}
void Stream::wait(const Event &event) const {
  check(api().waitEvent(raw.get(), event.raw.get(), 0), "waiting for an event");
}
void Stream::toDevice(void *to, const void *from, int64_t bytes) const {
  if (bytes > 0)
    check(api().toDevice(addressOf(to), from, size_t(bytes), raw.get()), "copying to the GPU");
}
void Stream::toHost(void *to, const void *from, int64_t bytes) const {
  if (bytes > 0)
    check(api().toHost(to, addressOf(from), size_t(bytes), raw.get()), "copying from the GPU");
}
void Stream::onDevice(void *to, const void *from, int64_t bytes) const {
  if (bytes > 0)
    check(api().onDevice(addressOf(to), addressOf(from), size_t(bytes), raw.get()), "copying on the GPU");
}
void Stream::fill(void *to, unsigned char byte, int64_t bytes) const {
  if (bytes > 0)
    check(api().fill(addressOf(to), byte, size_t(bytes), raw.get()), "filling memory of the GPU");
}

Event::Event()
    : raw(make(
          "creating an event", [](void *event) { opened().f.destroyEvent(event); },
          [](void **to) { return api().createEvent(to, 0); })) {}

void Event::record(const Stream &stream) const {
  check(api().recordEvent(raw.get(), stream.handle()), "recording an event");
}
bool Event::isDone() const {
  int status = api().queryEvent(raw.get());
  if (status != kNotReady)
    check(status, "asking for an event");
  return status == kSuccess;
}
void Event::synchronize() const { check(api().synchronizeEvent(raw.get()), "waiting for an event"); }
double Event::seconds(const Event &from, const Event &to) {
  float milliseconds = 0;
  check(api().elapsed(&milliseconds, from.raw.get(), to.raw.get()), "reading the time between two events");
  return double(milliseconds) / 1000;
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

DeviceMemory::DeviceMemory(int64_t bytes, const std::string &what) : size(bytes) {
  if (bytes <= 0)
    return;
  Address address = 0;
  int status = api().allocate(&address, size_t(bytes));
  if (status == kOutOfMemory) {
    const Device::Memory memory = Device::get().memory();
    fail(status, what + " needs " + bytesText(bytes) + ", but " + bytesText(memory.free) + " of " +
                     bytesText(memory.total) + " on " + Device::get().name + " are free");
  }
  if (status != kSuccess)
    fail(status, "allocating " + bytesText(bytes) + " for " + what);
  raw = Handle(reinterpret_cast<void *>(address), {[](void *memory) { opened().f.free(addressOf(memory)); }});
}

PinnedMemory::PinnedMemory(int64_t bytes, const std::string &what) : size(bytes) {
  if (bytes <= 0)
    return;
  void *memory = nullptr;
  if (int status = api().allocateHost(&memory, size_t(bytes), 0))
    fail(status, "allocating " + bytesText(bytes) + " of pinned host memory for " + what);
  raw = Handle(memory, {[](void *pinned) { opened().f.freeHost(pinned); }});
}

//===----------------------------------------------------------------------===//
// Kernels
//===----------------------------------------------------------------------===//

Module::Module(const std::string &cubin, std::string name) : title(std::move(name)) {
  void *module = nullptr;
  if (int status = api().loadModule(&module, cubin.data()))
    fail(status, "loading '" + title + "', compiled for " + Device::get().architecture + ", with a driver for CUDA " +
                     Device::get().driverVersion);
  raw = Handle(module, {[](void *loaded) { opened().f.unloadModule(loaded); }});
}

Function Module::function(const std::string &kernel) const {
  void *function = nullptr;
  if (int status = api().moduleFunction(&function, raw.get(), kernel.c_str()))
    fail(status, "looking for kernel '" + kernel + "' in '" + title + "'");
  return Function(function, kernel);
}

void Function::allowShared(int64_t bytes) const {
  if (bytes <= allowed)
    return;
  const Device &device = Device::get();
  if (bytes > device.sharedBytes)
    throw RuntimeError(RuntimeError::Kind::Device, "kernel '" + kernel + "' needs " + std::to_string(bytes) +
                                                       " bytes of shared memory, but a block on " + device.name +
                                                       " has up to " + std::to_string(device.sharedBytes));
  if (int status = api().setFunctionAttribute(raw, kSharedBytesAttribute, int(bytes)))
    fail(status, "asking for " + std::to_string(bytes) + " bytes of shared memory for kernel '" + kernel + "'");
  allowed = bytes;
}

void Function::launchRaw(const Stream &stream, const LaunchShape &shape, void **arguments) const {
  if (shape.blocks <= 0 || shape.blocksY <= 0 || shape.blocksZ <= 0)
    return;
  if (shape.blocks > std::numeric_limits<int32_t>::max() || shape.blocksY > 65535 || shape.blocksZ > 65535)
    throw RuntimeError(RuntimeError::Kind::Device,
                       "kernel '" + kernel + "' would need " + std::to_string(shape.blocks) + " x " +
                           std::to_string(shape.blocksY) + " x " + std::to_string(shape.blocksZ) +
                           " blocks, but a launch has up to 2147483647 x 65535 x 65535");
  allowShared(shape.sharedBytes);
  int status =
      api().launch(raw, unsigned(shape.blocks), unsigned(shape.blocksY), unsigned(shape.blocksZ),
                   unsigned(shape.threads), 1, 1, unsigned(shape.sharedBytes), stream.handle(), arguments, nullptr);
  if (status != kSuccess)
    fail(status, "launching kernel '" + kernel + "' (" + std::to_string(shape.blocks) + " x " +
                     std::to_string(shape.blocksY) + " x " + std::to_string(shape.blocksZ) + " blocks of " +
                     std::to_string(shape.threads) + " threads, " + std::to_string(shape.sharedBytes) +
                     " bytes of shared memory)");
}

int Function::blocksPerMultiprocessor(int threads, int64_t sharedBytes) const {
  allowShared(sharedBytes);
  int blocks = 0;
  if (int status = api().occupancy(&blocks, raw, threads, size_t(sharedBytes)))
    fail(status, "asking how many blocks of kernel '" + kernel + "' fit");
  return blocks;
}

Graph::Graph(const Stream &stream, const std::function<void()> &work) {
  const Functions &f = api();
  // Relaxed: libraries load kernels when they first need them, also now.
  check(f.beginCapture(stream.handle(), kRelaxedCapture), "starting to record a graph");
  void *graph = nullptr;
  try {
    work();
  } catch (...) {
    f.endCapture(stream.handle(), &graph);
    if (graph)
      f.destroyGraph(graph);
    throw;
  }
  check(f.endCapture(stream.handle(), &graph), "recording a graph");
  void *instance = nullptr;
  int status = f.instantiate(&instance, graph, 0);
  f.destroyGraph(graph);
  check(status, "making a graph ready");
  raw = Handle(instance, {[](void *made) { opened().f.destroyInstance(made); }});
}

void Graph::launch(const Stream &stream) const {
  check(api().launchGraph(raw.get(), stream.handle()), "launching a graph");
}
