// CUDA's driver, run-time compiler and matrix products without a GPU, for tests of what is allocated, of what is put on
// streams in which order, and of what is said when something fails. Memory of this GPU is the host's, copies happen at
// once, kernels and products do nothing. Calls that concern a stream are noted. The environment says what fails:
//   FAKE_GPU_MIB=N        the GPU has N MiB of memory (default 1024), of which the context takes 16
//   FAKE_GPU_FAULT=NAME   the kernel NAME accesses an illegal address: whoever waits after its launch is told
//   FAKE_NVRTC_REFUSES=T  a program with the text T does not compile: an error at the first line with it
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
  if (length < sizeof notes) // what is more than that is not noted
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

enum { OUT_OF_MEMORY = 2, ILLEGAL_ADDRESS = 700 };
static int fault; // of a kernel that was launched; it stays

int cuGetErrorName(int status, const char **name) {
  *name = status == OUT_OF_MEMORY     ? "CUDA_ERROR_OUT_OF_MEMORY"
          : status == ILLEGAL_ADDRESS ? "CUDA_ERROR_ILLEGAL_ADDRESS"
                                      : "error";
  return 0;
}
int cuGetErrorString(int status, const char **text) { return *text = "of a fake", 0; }
int cuInit(unsigned flags) { return done(); }
int cuDriverGetVersion(int *version) { return *version = 13000, 0; }
int cuDeviceGetCount(int *count) { return *count = 1, 0; }
int cuDeviceGet(int *device, int which) { return *device = 0, 0; }
int cuDeviceGetName(char *name, int size, int device) { return strcpy(name, "Fake"), 0; }
int cuDeviceGetAttribute(int *value, int which, int device) {
  enum { MULTIPROCESSORS = 16, MINOR = 76, SHARED_BYTES = 97 };
  *value = which == MULTIPROCESSORS ? 132 : which == MINOR ? 0 : which == SHARED_BYTES ? 227 << 10 : 9;
  return 0;
}
int cuDevicePrimaryCtxRetain(void **context, int device) { return number(context); }
int cuCtxSetCurrent(void *context) { return done(); }

static size_t allocated;
enum { HEAD = 64 }; // before each array, with its size
int cuMemGetInfo_v2(size_t *available, size_t *total) {
  const char *mebibytes = getenv("FAKE_GPU_MIB");
  *total = (size_t)(mebibytes ? atol(mebibytes) : 1024) << 20;
  return *available = *total - allocated - (16 << 20), 0;
}
int cuMemAlloc_v2(unsigned long long *to, size_t bytes) {
  size_t available, total;
  cuMemGetInfo_v2(&available, &total);
  if (bytes > available)
    return OUT_OF_MEMORY;
  char *memory = aligned_alloc(HEAD, HEAD + (bytes + HEAD - 1) / HEAD * HEAD);
  *(size_t *)memory = bytes;
  allocated += bytes;
  *to = (uintptr_t)(memory + HEAD);
  return note("allocate; ");
}
int cuMemFree_v2(unsigned long long memory) {
  char *begin = (char *)(uintptr_t)memory - HEAD;
  allocated -= *(size_t *)begin;
  return free(begin), note("free; ");
}
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
int cuStreamSynchronize(void *stream) { return note("synchronize; "), fault; }
int cuStreamWaitEvent(void *stream, void *event, unsigned flags) {
  return note((uintptr_t)stream < 100 ? "caller %zu waits; " : "we wait; ", (size_t)stream);
}
int cuEventCreate(void **to, unsigned flags) { return number(to); }
int cuEventDestroy_v2(void *event) { return done(); }
int cuEventRecord(void *event, void *stream) {
  return note((uintptr_t)stream < 100 ? "caller %zu records; " : "we record; ", (size_t)stream);
}
int cuEventQuery(void *event) { return done(); }
int cuEventSynchronize(void *event) { return fault; }
int cuEventElapsedTime(float *milliseconds, void *from, void *to) { return *milliseconds = 1, 0; }

// A module is its number, a function its name.
int cuModuleLoadData(void **module, const void *image) { return number(module); }
int cuModuleUnload(void *module) { return done(); }
int cuModuleGetFunction(void **function, void *module, const char *name) { return *function = strdup(name), 0; }
int cuFuncSetAttribute(void *function, int which, int value) { return done(); }
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, void *function, int threads, size_t bytes) {
  return *blocks = 1, 0;
}
int cuLaunchKernel(void *function) {
  const char *failing = getenv("FAKE_GPU_FAULT");
  if (fault)
    return fault;
  if (failing && !strcmp(failing, function))
    fault = ILLEGAL_ADDRESS;
  return 0;
}

// What is recorded runs at once, and not again.
int cuStreamBeginCapture_v2(void *stream, unsigned mode) { return done(); }
int cuStreamEndCapture(void *stream, void **graph) { return number(graph); }
int cuGraphInstantiateWithFlags(void **instance, void *graph, uint64_t flags) { return number(instance); }
int cuGraphLaunch(void *instance, void *stream) { return fault; }
int cuGraphDestroy(void *graph) { return done(); }
int cuGraphExecDestroy(void *instance) { return done(); }

// A program is what NVRTC says of it: nothing, or an error.
enum { COMPILATION_ERROR = 6 };
int nvrtcVersion(int *major, int *minor) { return *major = 13, *minor = 99, 0; }
const char *nvrtcGetErrorString(int status) { return "an error of a fake"; }
int nvrtcCreateProgram(void **program, const char *source, const char *name) {
  const char *refused = getenv("FAKE_NVRTC_REFUSES"), *at = refused ? strstr(source, refused) : NULL;
  char *log = calloc(1, 1024);
  int line = 1;
  for (const char *c = source; at && c < at; ++c)
    line += *c == '\n';
  if (at)
    snprintf(log, 1024, "%s(%d): error: '%s' is refused\n\n1 error detected in the compilation of \"%s\".\n", name, line,
             refused, name);
  return *program = log, 0;
}
int nvrtcDestroyProgram(void **program) { return free(*program), 0; }
int nvrtcCompileProgram(const char *log) { return *log ? COMPILATION_ERROR : 0; }
int nvrtcGetCUBINSize(const char *log, size_t *bytes) { return *bytes = 1, 0; }
int nvrtcGetCUBIN(const char *log, char *cubin) { return *cubin = 0, 0; }
int nvrtcGetProgramLogSize(const char *log, size_t *bytes) { return *bytes = strlen(log) + 1, 0; }
int nvrtcGetProgramLog(const char *log, char *to) { return strcpy(to, log), 0; }

size_t cublasLtGetVersion(void) { return 130000; }
const char *cublasLtGetStatusName(int status) { return "an error of a fake"; }
int cublasLtCreate(void **library) { return number(library); }
int cublasLtDestroy(void *library) { return done(); }
int cublasLtMatmulPreferenceCreate(void **preference) { return number(preference); }
int cublasLtMatmulPreferenceDestroy(void *preference) { return done(); }
int cublasLtMatmulPreferenceSetAttribute() { return done(); }
int cublasLtMatmulDescCreate(void **operation) { return number(operation); }
int cublasLtMatmulDescDestroy(void *operation) { return done(); }
int cublasLtMatmulDescSetAttribute() { return done(); }
int cublasLtMatrixLayoutCreate(void **layout) { return number(layout); }
int cublasLtMatrixLayoutDestroy(void *layout) { return done(); }
int cublasLtMatrixLayoutSetAttribute() { return done(); }
int cublasLtMatmulAlgoGetHeuristic(void *library, void *operation, void *a, void *b, void *c, void *d, void *preference,
                                   int wanted, void *heuristic, int *found) {
  return *found = 1, 0;
}
int cublasLtMatmul() { return fault; }
