//===- Driver.h - The GPU through CUDA's driver interface -------*- C++ -*-===//
// The driver library is loaded when it is first needed. One GPU a process: the
// first that CUDA_VISIBLE_DEVICES shows. Every function may be called from every
// thread; a failure is a RuntimeError of kind Device with CUDA's name of it. Errors
// of kernels appear in whatever is called next, and say how to learn whose they are.
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace tidegate::runtime::cuda {

/// The GPU, whose primary context is used.
struct Device {
  /// Opened at the first call. Errors: RuntimeError Device with whyMissing().
  static const Device &get();
  /// Why there is none: no driver, one that is too old, no GPU; empty if there is. TIDEGATE_CUDA_DRIVER=PATH names
  /// another driver library.
  static std::string whyMissing();

  std::string name;         ///< "NVIDIA H200"
  int major = 0, minor = 0; ///< compute capability
  std::string architecture; ///< for NVRTC: "sm_90a"
  int multiprocessors = 0;
  int64_t sharedBytes = 0;   ///< that one block may have
  int64_t cacheBytes = 0;    ///< of L2
  std::string driverVersion; ///< the CUDA that the driver supports: "13.0"

  struct Memory {
    int64_t free = 0, total = 0; ///< bytes
  };
  Memory memory() const;
  Memory atStart; ///< once this process had its context, and nothing else
  /// Bytes that went since: all that this process holds beside its context. What other processes take or give back
  /// meanwhile counts too.
  int64_t taken() const { return atStart.free - memory().free; }
};

/// "sm_90a" of 9, 0: from 9.0 on with the instructions of that generation alone.
std::string architectureOf(int major, int minor);

/// "CUDA_ERROR_OUT_OF_MEMORY (out of memory)".
std::string errorText(int status);

/// What the driver gave, given back on destruction.
struct Release {
  void (*release)(void *) = nullptr;
  void operator()(void *raw) const { release(raw); }
};
using Handle = std::unique_ptr<void, Release>;

class Event;

/// Work in order.
class Stream {
public:
  Stream();
  /// Somebody else's CUstream, who keeps it; null is the default stream.
  static Stream borrowed(void *handle);

  /// Returns when all work is done. Errors of that work appear here.
  void synchronize() const;
  /// Waits, too; an error of a kernel's as text, empty without one.
  std::string failure() const;
  void wait(const Event &event) const;

  /// Copies and fills, in order with the work. Host memory should be pinned; it must stay until the work is done.
  void toDevice(void *to, const void *from, int64_t bytes) const;
  void toHost(void *to, const void *from, int64_t bytes) const;
  void onDevice(void *to, const void *from, int64_t bytes) const;
  void fill(void *to, unsigned char byte, int64_t bytes) const;

  void *handle() const { return raw.get(); } ///< CUstream

private:
  explicit Stream(Handle raw) : raw(std::move(raw)) {}

  Handle raw;
};

/// A moment in a stream.
class Event {
public:
  Event();

  void record(const Stream &stream) const;
  bool isDone() const;
  void synchronize() const;
  /// Between two moments that have passed.
  static double seconds(const Event &from, const Event &to);

private:
  friend class Stream;
  Handle raw;
};

/// Memory of the GPU.
class DeviceMemory {
public:
  DeviceMemory() = default;
  /// `what` it is for appears in messages. Errors: with bytes needed and free where it cannot be had.
  DeviceMemory(int64_t bytes, const std::string &what);

  void *data() const { return raw.get(); }
  int64_t bytes() const { return raw ? size : 0; }

private:
  Handle raw;
  int64_t size = 0;
};

/// Host memory that copies reach without a detour.
class PinnedMemory {
public:
  PinnedMemory() = default;
  PinnedMemory(int64_t bytes, const std::string &what);

  void *data() const { return raw.get(); }
  int64_t bytes() const { return raw ? size : 0; }

private:
  Handle raw;
  int64_t size = 0;
};

struct LaunchShape {
  int64_t blocks = 1; ///< in x, up to 2^31 - 1; none: nothing is launched
  int threads = 128;
  int64_t sharedBytes = 0;          ///< dynamic
  int64_t blocksY = 1, blocksZ = 1; ///< up to 65535
};

/// A kernel of a Module, which must outlive it.
class Function {
public:
  /// Launches with `arguments`, whose types must be the kernel's. Asks for more than 48 KB of shared memory by itself.
  /// Errors: with the kernel's name and the shape.
  template <typename... Arguments>
  void launch(const Stream &stream, const LaunchShape &shape, const Arguments &...arguments) const {
    void *addresses[] = {const_cast<void *>(static_cast<const void *>(&arguments))..., nullptr};
    launchRaw(stream, shape, addresses);
  }
  /// The same with the addresses of the arguments.
  void launchRaw(const Stream &stream, const LaunchShape &shape, void **arguments) const;

  /// Blocks that fit on one multiprocessor at a time.
  int blocksPerMultiprocessor(int threads, int64_t sharedBytes) const;

  const std::string &name() const { return kernel; }

private:
  friend class Module;
  Function(void *raw, std::string kernel) : raw(raw), kernel(std::move(kernel)) {}
  void allowShared(int64_t bytes) const;

  void *raw = nullptr;
  std::string kernel;
  mutable int64_t allowed = 48 * 1024;
};

/// Loaded machine code.
class Module {
public:
  /// `name` appears in messages.
  Module(const std::string &cubin, std::string name);

  Function function(const std::string &kernel) const;

private:
  Handle raw;
  std::string title;
};

/// Work that was recorded and can be launched again as a whole.
class Graph {
public:
  /// Records what `work` puts on `stream`; nothing of it runs.
  Graph(const Stream &stream, const std::function<void()> &work);

  void launch(const Stream &stream) const;

private:
  Handle raw;
};

/// "1280.00 MiB".
std::string bytesText(int64_t bytes);

} // namespace tidegate::runtime::cuda
