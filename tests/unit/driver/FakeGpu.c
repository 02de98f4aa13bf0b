// CUDA's driver, run-time compiler and matrix products without a GPU, for tests of what is put on streams in which order.
// Memory of this GPU is the host's, copies happen at once, kernels do not run. Calls that concern a stream are noted.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char notes[1 << 14];
static size_t length;

/// What was put on streams since the last call: "copy 100; wait 7 2; ...". Streams and events are numbers.
const char *fake_gpu_notes(void) {
  static char taken[sizeof notes];
  memcpy(taken, notes, sizeof notes);
  notes[length = 0] = 0;
  return taken;
}

static int note(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  length += (size_t)vsnprintf(notes + length, sizeof notes - length, format, arguments);
  va_end(arguments);
  return 0;
}

static int number(void **to) {
  static uintptr_t last = 100;
  *to = (void *)++last;
  return 0;
}
static int done(void) { return 0; }

int cuGetErrorName(int status, const char **name) { return *name = "error", 0; }
int cuGetErrorString(int status, const char **text) { return *text = "of a fake", 0; }
int cuInit(unsigned flags) { return done(); }
int cuDriverGetVersion(int *version) { return *version = 13000, 0; }
int cuDeviceGetCount(int *count) { return *count = 1, 0; }
int cuDeviceGet(int *device, int which) { return *device = 0, 0; }
int cuDeviceGetName(char *name, int size, int device) { return strcpy(name, "Fake"), 0; }
int cuDeviceGetAttribute(int *value, int which, int device) { return *value = 9, 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { return number(context); }
int cuCtxSetCurrent(void *context) { return done(); }
int cuMemGetInfo_v2(size_t *available, size_t *total) { return *available = *total = 1 << 30, 0; }
int cuMemAlloc_v2(unsigned long long *to, size_t bytes) { return *to = (uintptr_t)malloc(bytes), note("allocate; "); }
int cuMemFree_v2(unsigned long long memory) { return free((void *)(uintptr_t)memory), note("free; "); }
int cuMemHostAlloc(void **to, size_t bytes, unsigned flags) { return *to = malloc(bytes), 0; }
int cuMemFreeHost(void *memory) { return free(memory), 0; }

int cuMemcpyHtoDAsync_v2(unsigned long long to, const void *from, size_t bytes, void *stream) {
  return memcpy((void *)(uintptr_t)to, from, bytes), note("to-gpu %zu; ", bytes);
}
int cuMemcpyDtoHAsync_v2(void *to, unsigned long long from, size_t bytes, void *stream) {
  return memcpy(to, (void *)(uintptr_t)from, bytes), note("to-host %zu; ", bytes);
}
int cuMemcpyDtoDAsync_v2(unsigned long long to, unsigned long long from, size_t bytes, void *stream) {
  return memcpy((void *)(uintptr_t)to, (void *)(uintptr_t)from, bytes), note("copy %zu; ", bytes);
}
int cuMemsetD8Async(unsigned long long to, unsigned char byte, size_t bytes, void *stream) {
  return memset((void *)(uintptr_t)to, byte, bytes), note("fill %zu; ", bytes);
}

int cuStreamCreate(void **to, unsigned flags) { return number(to); }
int cuStreamDestroy_v2(void *stream) { return done(); }
int cuStreamSynchronize(void *stream) { return note("synchronize; "); }
int cuStreamWaitEvent(void *stream, void *event, unsigned flags) {
  return note((uintptr_t)stream < 100 ? "caller %zu waits; " : "we wait; ", (size_t)stream);
}
int cuEventCreate(void **to, unsigned flags) { return number(to); }
int cuEventDestroy_v2(void *event) { return done(); }
int cuEventRecord(void *event, void *stream) {
  return note((uintptr_t)stream < 100 ? "caller %zu records; " : "we record; ", (size_t)stream);
}
int cuEventQuery(void *event) { return done(); }
int cuEventSynchronize(void *event) { return done(); }
int cuEventElapsedTime(float *milliseconds, void *from, void *to) { return *milliseconds = 0, 0; }

// Programs and graphs: there are none.
int cuModuleLoadData(void **module, const void *image) { return 1; }
int cuModuleUnload(void *module) { return 1; }
int cuModuleGetFunction(void **function, void *module, const char *name) { return 1; }
int cuFuncSetAttribute(void *function, int which, int value) { return 1; }
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, void *function, int threads, size_t bytes) { return 1; }
int cuLaunchKernel() { return 1; }
int cuStreamBeginCapture_v2(void *stream, unsigned mode) { return 1; }
int cuStreamEndCapture(void *stream, void **graph) { return 1; }
int cuGraphInstantiateWithFlags(void **instance, void *graph, uint64_t flags) { return 1; }
int cuGraphLaunch(void *instance, void *stream) { return 1; }
int cuGraphDestroy(void *graph) { return 1; }
int cuGraphExecDestroy(void *instance) { return 1; }

int nvrtcVersion(int *major, int *minor) { return *major = 13, *minor = 0, 0; }
const char *nvrtcGetErrorString(int status) { return "a fake compiles nothing"; }
int nvrtcCreateProgram() { return 1; }
int nvrtcDestroyProgram() { return 1; }
int nvrtcCompileProgram() { return 1; }
int nvrtcGetCUBINSize() { return 1; }
int nvrtcGetCUBIN() { return 1; }
int nvrtcGetProgramLogSize() { return 1; }
int nvrtcGetProgramLog() { return 1; }

size_t cublasLtGetVersion(void) { return 130000; }
const char *cublasLtGetStatusName(int status) { return "a fake multiplies nothing"; }
int cublasLtCreate(void **library) { return number(library); }
int cublasLtDestroy(void *library) { return done(); }
int cublasLtMatmulPreferenceCreate(void **preference) { return number(preference); }
int cublasLtMatmulPreferenceDestroy(void *preference) { return done(); }
int cublasLtMatmulPreferenceSetAttribute() { return done(); }
int cublasLtMatmulDescCreate() { return 1; }
int cublasLtMatmulDescDestroy() { return 1; }
int cublasLtMatmulDescSetAttribute() { return 1; }
int cublasLtMatrixLayoutCreate() { return 1; }
int cublasLtMatrixLayoutDestroy() { return 1; }
int cublasLtMatrixLayoutSetAttribute() { return 1; }
int cublasLtMatmulAlgoGetHeuristic() { return 1; }
int cublasLtMatmul() { return 1; }
