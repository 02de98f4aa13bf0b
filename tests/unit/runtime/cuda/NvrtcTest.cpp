// NVRTC: device code compiles for both architectures, what it says is read, errors are errors.
#include "runtime/core/Error.h"
#include "runtime/cuda/Nvrtc.h"
#include "runtime/device/Library.h"

#include <gtest/gtest.h>

using namespace tidegate;
using namespace tidegate::runtime::cuda;
using runtime::RuntimeError;

namespace {

#define NEEDS_NVRTC                                                                                                    \
  if (std::string why = Nvrtc::whyMissing(); !why.empty())                                                             \
  GTEST_SKIP() << why

/// o = tril(q k^T) v for one chunk: copies, both kinds of product, a mask.
const char *const kProbe = R"(
#include "runtime/device/memory.cuh"
#include "runtime/device/product.cuh"
using namespace tidegate::device;
extern "C" __global__ __launch_bounds__(kThreads)
void probe(const bf16 *q, const bf16 *k, const bf16 *v, float *o, int T, long long stride) {
  extern __shared__ __align__(1024) unsigned char shared[];
  SharedTile<bf16, 64, 64> sq{shared}, sk{shared + 8192}, sv{shared + 16384};
  int first = blockIdx.x * 64;
  startRows(sq, q + first * stride, stride, T - first);
  startRows(sk, k + first * stride, stride, T - first);
  startRows(sv, v + first * stride, stride, T - first);
  commitCopies();
  waitCopies<0>();
  syncBlock();
  Fragment<64, 64> scores, out;
  scores.fill(0);
  product<As::Stored, As::Transposed>(scores, sq, sk);
  scores.forEach([](int row, int col, float &x) { if (col > row) x = 0; });
  out.fill(0);
  product<As::Stored>(out, scores, sv);
  storeRows(o + first * stride, stride, T - first, out);
}
)";

TEST(Nvrtc, CompilesDeviceCodeForBothArchitectures) {
  NEEDS_NVRTC;
  for (const char *architecture : {"sm_80", "sm_90a"}) {
    auto compiled = Nvrtc::get().compile({"probe", kProbe, device::libraryHeaders(), {}}, architecture);
    ASSERT_EQ(1u, compiled.kernels.size());
    EXPECT_EQ("probe", compiled.kernels[0].kernel);
    EXPECT_EQ(0, compiled.kernels[0].spillBytes) << architecture;
    EXPECT_GT(compiled.kernels[0].registers, 32); // the accumulators
    EXPECT_EQ("\x7f" "ELF", compiled.cubin.substr(0, 4));
  }
}

TEST(Nvrtc, EveryHeaderStandsAlone) {
  NEEDS_NVRTC;
  for (const auto &[name, text] : device::libraryHeaders())
    EXPECT_NO_THROW(Nvrtc::get().compile({"alone", "#include \"" + name + "\"\n", device::libraryHeaders(), {}}, "sm_80"));
}

/// A kernel for each function of a chunk under per-channel decay.
const char *const kDecayProbes = R"(
#include "runtime/device/memory.cuh"
#include "runtime/device/recurrence.cuh"
using namespace tidegate::device;
using Read = Places<2>;
using Add = Places<1>;
struct Tiles {
  SharedTile<bf16, 64, 64> q, k, p;
  SharedTile<float, 64, 64> g, m, t;
  float *work;
  TIDEGATE_DEVICE Tiles(unsigned char *shared)
      : q{shared}, k{shared + 8192}, p{shared + 16384}, g{shared + 24576}, m{shared + 40960}, t{shared + 57344},
        work(reinterpret_cast<float *>(shared + 73728)) {}
};
#define PROBE(name) extern "C" __global__ __launch_bounds__(kThreads, 1) void name(float *out, int T)
#define TILES extern __shared__ __align__(1024) unsigned char shared[]; Tiles s(shared)
PROBE(scores) {
  TILES;
  cumsum(s.g, {}, s.work);
  Fragment<64, 64> p;
  decayScores<Read, Add>(p, s.q, s.k, s.g, s.g);
  storeRows(out, 64, T, p);
}
PROBE(mix) {
  TILES;
  Fragment<64, 64> y;
  y.fill(0);
  decayMix<Read, Add>(y, s.p, s.k, s.g, s.g);
  storeRows(out, 64, T, y);
}
PROBE(mixTransposed) {
  TILES;
  Fragment<64, 64> y;
  y.fill(0);
  decayMixTransposed<Read, Add>(y, s.p, s.q, s.g, s.g);
  storeRows(out, 64, T, y);
}
PROBE(inverse) {
  TILES;
  invertUnitLower(s.t, s.m);
  Fragment<64, 64> y;
  load(y, s.t);
  storeRows(out, 64, T, y);
}
)";

TEST(Nvrtc, DecayNeedsNoSpills) {
  NEEDS_NVRTC;
  for (const char *architecture : {"sm_80", "sm_90a"}) {
    auto compiled = Nvrtc::get().compile({"decay", kDecayProbes, device::libraryHeaders(), {}}, architecture);
    ASSERT_EQ(4u, compiled.kernels.size());
    for (const KernelUse &use : compiled.kernels)
      EXPECT_EQ(0, use.spillBytes) << use.kernel << " on " << architecture;
  }
}

TEST(Nvrtc, ErrorsCarryTheLog) {
  NEEDS_NVRTC;
  try {
    Nvrtc::get().compile({"broken", "extern \"C\" __global__ void f() { undefined(); }", {}, {}}, "sm_90a");
    FAIL() << "expected an error";
  } catch (const RuntimeError &e) {
    EXPECT_EQ(RuntimeError::Kind::InvalidArgument, e.kind());
    EXPECT_NE(std::string::npos, std::string(e.what()).find("undefined")) << e.what();
    EXPECT_NE(std::string::npos, std::string(e.what()).find("sm_90a")) << e.what();
  }
}

TEST(Nvrtc, DefinesReachTheProgram) {
  NEEDS_NVRTC;
  const char *source = "static_assert(WIDTH == 48); extern \"C\" __global__ void f() {}";
  EXPECT_NO_THROW(Nvrtc::get().compile({"f", source, {}, {"WIDTH=48"}}, "sm_80"));
  EXPECT_THROW(Nvrtc::get().compile({"f", source, {}, {"WIDTH=47"}}, "sm_80"), RuntimeError);
}

TEST(Nvrtc, ReadsTheAssemblersReport) {
  auto uses = kernelUses("ptxas info    : Compiling entry function 'a' for 'sm_90a'\n"
                         "ptxas info    : Function properties for a\n"
                         "    16 bytes stack frame, 24 bytes spill stores, 40 bytes spill loads\n"
                         "ptxas info    : Used 255 registers, used 1 barriers, 1024 bytes smem, 400 bytes cmem[0]\n"
                         "ptxas info    : Compiling entry function 'b' for 'sm_90a'\n"
                         "ptxas info    : Used 32 registers, used 0 barriers\n");
  EXPECT_EQ((std::vector<KernelUse>{{"a", 255, 64, 1024}, {"b", 32, 0, 0}}), uses);
}

} // namespace
