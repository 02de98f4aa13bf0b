//===- Blas.cpp - Matrix products of cuBLASLt -------------------*- C++ -*-===//
// The library counts rows down columns: a row-major C = A B is its C^T = B^T A^T,
// so operands change places and nothing else. The C interface is declared here as
// far as it is used, as CUDA 12 and 13 have it.
//===----------------------------------------------------------------------===//
#include "runtime/cuda/Blas.h"

#include "runtime/core/Error.h"
#include "runtime/cuda/SharedLibrary.h"

#include <algorithm>

using namespace tidegate::runtime;
using namespace tidegate::runtime::cuda;

namespace {

// Element types; sums in at least f32, no TF32; attributes of an operation, a layout, a preference.
enum : int { kFloat = 0, kBfloat16 = 14 };
enum : int { kComputeFloat = 68 };
enum : int { kTransA = 3, kTransB = 4 };
enum : int { kBatchCount = 5, kBatchStride = 6 };
enum : int { kWorkspace = 1, kReductions = 3, kAlignA = 5, kAlignB, kAlignC, kAlignD };
/// Parts of sums may only meet in f32, in a pass of their own: in a fixed order and without a rounding between.
constexpr uint32_t kReductionInComputeType = 2;

struct Heuristic {
  uint64_t algorithm[8];
  size_t workspace;
  int status;
  float waves;
  int reserved[4];
};

/// 0 is success.
struct Functions {
  size_t (*version)();
  const char *(*statusName)(int);
  int (*create)(void **), (*destroy)(void *);
  int (*createOperation)(void **, int computeType, int scaleType), (*destroyOperation)(void *),
      (*setOperation)(void *, int, const void *, size_t);
  int (*createLayout)(void **, int type, uint64_t rows, uint64_t cols, int64_t stride), (*destroyLayout)(void *),
      (*setLayout)(void *, int, const void *, size_t);
  int (*createPreference)(void **), (*destroyPreference)(void *), (*setPreference)(void *, int, const void *, size_t);
  int (*choose)(void *library, void *operation, void *a, void *b, void *c, void *d, void *preference, int wanted,
                Heuristic *, int *found);
  int (*multiply)(void *library, void *operation, const void *alpha, const void *a, void *layoutA, const void *b,
                  void *layoutB, const void *beta, const void *c, void *layoutC, void *d, void *layoutD,
                  const void *algorithm, void *workspace, size_t workspaceBytes, void *stream);
};

/// The library, or why there is none.
struct Library {
  Functions f{};
  std::string why;

  Library() {
    const SharedLibrary file("CUDA's library of matrix products", "TIDEGATE_CUBLASLT",
                             toolkitNames("libcublasLt.so", {13, 12}), "install cuBLAS of CUDA 12 or 13");
    why = file.whyMissing();
    if (!why.empty())
      return;
    try {
      findAll(file);
      if (f.version() < 120000)
        why = "cuBLASLt is of version " + text(f.version()) +
              ", but 12.0.0 or newer is needed; install cuBLAS of CUDA "
              "12 or 13, or name its library in TIDEGATE_CUBLASLT";
    } catch (const RuntimeError &error) {
      why = error.what();
    }
  }

  void findAll(const SharedLibrary &file) {
    file.find(f.version, "cublasLtGetVersion");
    file.find(f.statusName, "cublasLtGetStatusName");
    file.find(f.create, "cublasLtCreate");
    file.find(f.destroy, "cublasLtDestroy");
    file.find(f.createOperation, "cublasLtMatmulDescCreate");
    file.find(f.destroyOperation, "cublasLtMatmulDescDestroy");
    file.find(f.setOperation, "cublasLtMatmulDescSetAttribute");
    file.find(f.createLayout, "cublasLtMatrixLayoutCreate");
    file.find(f.destroyLayout, "cublasLtMatrixLayoutDestroy");
    file.find(f.setLayout, "cublasLtMatrixLayoutSetAttribute");
    file.find(f.createPreference, "cublasLtMatmulPreferenceCreate");
    file.find(f.destroyPreference, "cublasLtMatmulPreferenceDestroy");
    file.find(f.setPreference, "cublasLtMatmulPreferenceSetAttribute");
    file.find(f.choose, "cublasLtMatmulAlgoGetHeuristic");
    file.find(f.multiply, "cublasLtMatmul");
  }

  static std::string text(size_t version) {
    return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
           std::to_string(version % 100);
  }
};

const Library &opened() {
  static const Library instance;
  return instance;
}

const Functions &api() {
  if (!opened().why.empty())
    throw RuntimeError(RuntimeError::Kind::NotFound, opened().why);
  return opened().f;
}

[[noreturn]] void fail(int status, const std::string &doing) {
  throw RuntimeError(RuntimeError::Kind::Device, doing + ": " + opened().f.statusName(status));
}

Handle make(int (*create)(void **), void (*destroy)(void *)) {
  void *raw = nullptr;
  if (int status = create(&raw))
    fail(status, "preparing a matrix product");
  return Handle(raw, {destroy});
}

template <typename T>
void set(int (*setter)(void *, int, const void *, size_t), const Handle &of, int attribute, T value) {
  if (int status = setter(of.get(), attribute, &value, sizeof value))
    fail(status, "describing a matrix product");
}

int typeOf(Dtype dtype) { return dtype == Dtype::BF16 ? kBfloat16 : kFloat; }

/// A matrix of `rows` x `cols` in memory, row by row, `count` times.
Handle layoutOf(Dtype dtype, int64_t rows, int64_t cols, int64_t count) {
  const Functions &f = api();
  void *raw = nullptr;
  if (int status = f.createLayout(&raw, typeOf(dtype), uint64_t(cols), uint64_t(rows), cols))
    fail(status, "describing a matrix of " + std::to_string(rows) + " x " + std::to_string(cols));
  Handle layout(raw, {[](void *made) { opened().f.destroyLayout(made); }});
  if (count > 1) {
    set(f.setLayout, layout, kBatchCount, int32_t(count));
    set(f.setLayout, layout, kBatchStride, rows * cols);
  }
  return layout;
}

/// The largest power of two that divides an address, at most 256.
int alignmentOf(const void *address) {
  auto bits = reinterpret_cast<uintptr_t>(address) | 256;
  return int(bits & ~(bits - 1));
}

} // namespace

std::string MatrixProduct::text() const {
  auto matrix = [](Dtype dtype, bool isTransposed, int64_t rows, int64_t cols) {
    return std::string(isTransposed ? "transposed " : "") + std::string(dtypeName(dtype)) + " [" +
           std::to_string(isTransposed ? cols : rows) + ", " + std::to_string(isTransposed ? rows : cols) + "]";
  };
  return matrix(c, false, m, n) + (adds ? " += " : " = ") + matrix(a, transA, m, k) + " x " + matrix(b, transB, k, n) +
         (count == 1 ? "" : ", " + std::to_string(count) + " times");
}

void cuda::checkTypes(const MatrixProduct &p) {
  const bool isRounded = p.a == Dtype::BF16 && p.b == Dtype::BF16 && (p.c == Dtype::BF16 || p.c == Dtype::F32);
  const bool isFloat = p.a == Dtype::F32 && p.b == Dtype::F32 && p.c == Dtype::F32;
  if (!isRounded && !isFloat)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       "the GPU multiplies bf16 x bf16 to bf16 or f32, and f32 x f32 to f32, but a product is " +
                           p.text());
}

std::string Blas::whyMissing() { return opened().why; }
std::string Blas::version() { return Library::text(api().version()); }

Blas::Blas() {
  api();
  const Device &device = Device::get(); // makes the context current
  void *raw = nullptr;
  if (int status = api().create(&raw))
    fail(status,
         "starting cuBLASLt " + version() + " on " + device.name + " with a driver for CUDA " + device.driverVersion);
  library = Handle(raw, {[](void *made) { opened().f.destroy(made); }});
  workspace = DeviceMemory(kWorkspaceBytes, "the workspace of matrix products");
}

Blas::Prepared Blas::prepare(const Key &key) const {
  const Functions &f = api();
  const MatrixProduct &p = key.product;
  void *raw = nullptr;
  if (int status = f.createOperation(&raw, kComputeFloat, kFloat))
    fail(status, "describing a matrix product");
  Prepared made;
  made.operation = Handle(raw, {[](void *operation) { opened().f.destroyOperation(operation); }});
  set(f.setOperation, made.operation, kTransA, int32_t(p.transB));
  set(f.setOperation, made.operation, kTransB, int32_t(p.transA));
  made.a = layoutOf(p.a, p.transA ? p.k : p.m, p.transA ? p.m : p.k, p.count);
  made.b = layoutOf(p.b, p.transB ? p.n : p.k, p.transB ? p.k : p.n, p.count);
  made.c = layoutOf(p.c, p.m, p.n, p.count);

  Handle preference = make(f.createPreference, [](void *own) { opened().f.destroyPreference(own); });
  set(f.setPreference, preference, kWorkspace, uint64_t(kWorkspaceBytes));
  set(f.setPreference, preference, kReductions, kReductionInComputeType);
  set(f.setPreference, preference, kAlignA, uint32_t(key.alignB));
  set(f.setPreference, preference, kAlignB, uint32_t(key.alignA));
  set(f.setPreference, preference, kAlignC, uint32_t(key.alignC));
  set(f.setPreference, preference, kAlignD, uint32_t(key.alignC));
  Heuristic best{};
  int found = 0;
  int status = f.choose(library.get(), made.operation.get(), made.b.get(), made.a.get(), made.c.get(), made.c.get(),
                        preference.get(), 1, &best, &found);
  if (status || !found || best.status)
    fail(status ? status : best.status, "cuBLASLt " + version() + " has no way to compute " + p.text());
  std::copy(std::begin(best.algorithm), std::end(best.algorithm), made.algorithm.data);
  return made;
}

void Blas::multiply(const Stream &stream, const MatrixProduct &p, const void *a, const void *b, void *c) {
  checkTypes(p);
  if (p.m <= 0 || p.n <= 0 || p.count <= 0)
    return;
  if (p.k <= 0 && p.adds)
    return;
  if (p.k <= 0)
    return stream.fill(c, 0, p.count * p.m * p.n * int64_t(dtypeSize(p.c)));
  Device::get(); // makes the context current in this thread
  const Key key{p, alignmentOf(a), alignmentOf(b), alignmentOf(c)};
  auto it = products.find(key);
  if (it == products.end())
    it = products.emplace(key, prepare(key)).first;
  const Prepared &own = it->second;
  const float one = 1, beta = p.adds ? 1 : 0;
  int status =
      api().multiply(library.get(), own.operation.get(), &one, b, own.b.get(), a, own.a.get(), &beta, c, own.c.get(), c,
                     own.c.get(), own.algorithm.data, workspace.data(), size_t(workspace.bytes()), stream.handle());
  if (status)
    fail(status, "computing " + p.text());
}
