//===- Blas.cpp - Opening a BLAS and calling it row-major -------*- C++ -*-===//
// Uses the Fortran entry points, which every BLAS has: a row-major C = A B is
// the column-major C^T = B^T A^T, so operands change places and nothing else.
//===----------------------------------------------------------------------===//
#include "runtime/core/Blas.h"

#include "runtime/core/Error.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <initializer_list>
#include <limits>
#include <omp.h>

using namespace tidegate::runtime;

namespace {

template <typename T>
using FortranGemm = void (*)(const char *transA, const char *transB, const int *m, const int *n, const int *k,
                             const T *alpha, const T *a, const int *lda, const T *b, const int *ldb, const T *beta,
                             T *c, const int *ldc, size_t, size_t);

/// Asks an OpenBLAS that is opened in this one's lifetime for its AVX-512 kernels: Debian's 0.3.21 does not know
/// newer AMD processors and picks AVX2 for them. The environment is then as it was, so that a process started
/// later chooses as this one does, whoever loads the library first.
class WideKernels {
public:
  WideKernels() {
#if defined(__x86_64__)
    isSet = !std::getenv(kVariable) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (isSet)
      setenv(kVariable, "SKYLAKEX", /*overwrite=*/0);
#endif
  }
  ~WideKernels() {
    if (isSet)
      unsetenv(kVariable);
  }
  WideKernels(const WideKernels &) = delete;
  WideKernels &operator=(const WideKernels &) = delete;

private:
  static constexpr const char *kVariable = "OPENBLAS_CORETYPE"; ///< Read once, when the library is loaded.
  bool isSet = false;
};

/// The library, if there is one. Never closed: BLAS threads may outlive us.
struct Library {
  FortranGemm<float> single = nullptr;
  FortranGemm<double> twice = nullptr;
  bool ownThreads = false; ///< Its threads are not OpenMP's, so it must not run inside a region.
  std::string description = "builtin";

  Library() {
    const WideKernels preferred;
    const char *wanted = std::getenv("TIDEGATE_BLAS");
    if (wanted && std::string(wanted) == "builtin")
      return;
    if (wanted && *wanted) {
      if (!tryOpen(wanted))
        std::fprintf(stderr, "tidegate: TIDEGATE_BLAS names '%s', which is not a loadable BLAS; using built-in "
                             "matrix products\n", wanted);
      return;
    }
    for (const char *name : {"libopenblas.so.0", "libblas.so.3"})
      if (tryOpen(name))
        return;
    std::fprintf(stderr, "tidegate: no BLAS found (libopenblas.so.0, libblas.so.3); using built-in matrix products, "
                         "which are several times slower\n");
  }

  bool tryOpen(const char *name) {
    void *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
      return false;
    auto find = [&](const char *symbol) { return dlsym(handle, symbol); };
    single = reinterpret_cast<FortranGemm<float>>(find("sgemm_"));
    twice = reinterpret_cast<FortranGemm<double>>(find("dgemm_"));
    if (!single || !twice) {
      single = nullptr, twice = nullptr;
      return false;
    }
    description = name;
    if (auto config = reinterpret_cast<char *(*)()>(find("openblas_get_config")))
      description += std::string(" (") + config() + ")";
    if (auto parallel = reinterpret_cast<int (*)()>(find("openblas_get_parallel")))
      ownThreads = parallel() == 1; // 0: sequential, 1: its own threads, 2: OpenMP
    return true;
  }
};

const Library &library() {
  static const Library instance;
  return instance;
}

template <typename T>
void call(FortranGemm<T> function, bool transA, bool transB, int64_t m, int64_t n, int64_t k, T alpha, const T *a,
          int64_t lda, const T *b, int64_t ldb, T beta, T *c, int64_t ldc) {
  if (m <= 0 || n <= 0)
    return;
  if (!function || (library().ownThreads && omp_in_parallel()))
    return builtinGemm(transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  for (int64_t size : {m, n, k, lda, ldb, ldc})
    if (size > std::numeric_limits<int>::max())
      throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                         "a matrix product has a size of " + std::to_string(size) +
                             ", but the BLAS takes up to 2147483647");
  const int rows = int(m), columns = int(n), depth = int(k);
  const int strideA = int(std::max<int64_t>(lda, 1)), strideB = int(std::max<int64_t>(ldb, 1)), strideC = int(ldc);
  const char flagA = transA ? 'T' : 'N', flagB = transB ? 'T' : 'N';
  function(&flagB, &flagA, &columns, &rows, &depth, &alpha, b, &strideB, a, &strideA, &beta, c, &strideC, 1, 1);
}

} // namespace

void tidegate::runtime::gemm(bool transA, bool transB, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                             int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
  call(library().single, transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void tidegate::runtime::gemm(bool transA, bool transB, int64_t m, int64_t n, int64_t k, double alpha, const double *a,
                             int64_t lda, const double *b, int64_t ldb, double beta, double *c, int64_t ldc) {
  call(library().twice, transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

std::string tidegate::runtime::blasDescription() { return library().description; }
