//===- Plan.h - What one entry point does, step by step ---------*- C++ -*-===//
// A flat list of kernel launches, matrix products, lookups and copies on
// buffers. Sizes are products of the batch B, the tokens T and constants, so one
// plan serves every (B, T).
//===----------------------------------------------------------------------===//
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace tidegate::runtime {

/// constant * B^batch * T^tokens * product of ceil(T / chunk) over `chunks` and of ceil(T / chunk) + 1 over `bounds`,
/// and of the rows of a block over `blocks`.
struct Extent {
  int64_t constant = 1;
  int batch = 0, tokens = 0;
  std::vector<int64_t> chunks = {};
  std::vector<int64_t> bounds = {}; ///< Places before, between and behind the chunks.
  std::vector<int64_t> blocks = {}; ///< Numbers of blocks; see RowBlocks.

  /// In a loop over blocks of rows, for block n. The first is the largest.
  int64_t at(int64_t B, int64_t T, int64_t n = 0) const;
  Extent operator*(const Extent &other) const;
  std::string text() const; ///< "B T 512"
};

/// The B T rows cut into `count` blocks at most. All have the same rows but the last, which may have fewer.
struct RowBlocks {
  /// Rows of a block are a multiple of this: whole tiles of matrix products, and pieces that begin where vectors may.
  static constexpr int64_t kMultiple = 16;
  int64_t count = 1;

  int64_t rows(int64_t B, int64_t T) const; ///< Of the first block.
  int64_t rowsOf(int64_t n, int64_t B, int64_t T) const;
  int64_t used(int64_t B, int64_t T) const; ///< Blocks that have rows.
};

/// A compiled kernel; see compiler/CodeGen/CPU/Kernels.h for the contract.
struct Kernel {
  using Function = void (*)(void *const *buffers, int64_t begin, int64_t end, int64_t part, int64_t batch,
                            int64_t tokens, void *scratch);
  std::string name;
  Function function = nullptr;
  int64_t scratchBytes = 0;
  /// In place of `function`: runs all items by itself and returns the number of parts of its sums.
  using Whole = std::function<int64_t(void *const *buffers, int64_t items, int64_t batch, int64_t tokens)>;
  Whole whole = {};
};

/// One of equal pieces of another buffer: piece n + `shift`, where a loop is at chunk or block n (`perChunk`), or N +
/// `shift` of N chunks of `chunk` tokens (`fromEnd`), or `shift`.
struct View {
  int of = -1;
  Extent stride; ///< Elements of a piece.
  int64_t chunk = 1;
  bool perChunk = false, fromEnd = false;
  int64_t shift = 0;

  bool isFixed() const { return !perChunk && !fromEnd; }
  /// In elements.
  int64_t offset(int64_t n, int64_t B, int64_t T) const;
};

/// A contiguous array. Bound buffers are the caller's (`binding` counts its
/// pointers); views lie in other buffers, that come before them; the others live in
/// the arena from step `first` to step `last`.
struct Buffer {
  Extent elements;
  int64_t elementBytes = 4;
  int binding = -1;
  int first = -1, last = -1;
  View view = {};

  bool isBound() const { return binding >= 0; }
  bool isView() const { return view.of >= 0; }
};

/// A kernel over `items` work items. `buffers` are its arguments in order.
struct Launch {
  /// A result that is the sum over all items: parts are added into `total`.
  struct Sum {
    int argument; ///< position in `buffers`; there stands the buffer of the parts
    int total;
    int64_t elements;
  };
  int kernel = 0;
  std::vector<int> buffers;
  Extent items;
  bool isScan = false;
  std::vector<Sum> sums;
  double flopsPerToken = 0; ///< of matrix products inside, per token of the batch
};

/// C = op(A) op(B), or C += op(A) op(B) if it `adds`; row-major and contiguous.
struct Product {
  bool transA = false, transB = false;
  Extent m, n, k;
  Extent count; ///< Products of this size, one after the other in memory.
  int a = 0, b = 0, c = 0;
  bool adds = false;

  /// In round `round` of its loop.
  double flops(int64_t B, int64_t T, int64_t round) const;
};

/// out[i, :] = table[ids[i], :], zeros for an id outside the table.
struct Lookup {
  int table = 0, ids = 0, out = 0;
  Extent count;
  int64_t rows = 0, width = 0;
};

/// out[n, :] = sum of in[i, :] over ids[i] = n, in the order of i.
struct LookupGrad {
  int in = 0, ids = 0, out = 0;
  Extent count;
  int64_t rows = 0, width = 0;
};

/// A short convolution over time or one of its gradients; see runtime/core/ShortConv.h.
struct ShortConv {
  enum class Kind { Forward, InputGrad, WeightGrad };
  Kind kind = Kind::Forward;
  /// Forward: x and w; InputGrad: dy and w; WeightGrad: x and dy.
  int rows = 0, with = 0;
  int edge = -1; ///< past, dnext or past; -1: none
  int positions = -1; ///< in their documents; -1: one document
  int out = 0;
  int outEdge = -1; ///< next or dpast; -1: not stored
  Extent batch, tokens;
  int64_t channels = 0, width = 0;
};

/// out[b, t] = first[b] + t, next[b] = first[b] + tokens; see nn.positions.
struct Positions {
  int first = -1;         ///< -1: zeros
  int out = -1, next = -1; ///< -1: not stored
  Extent batch, tokens;
};

/// The last `count` rows of `past` (-1: zeros) followed by `rows`; see nn.last_rows.
struct LastRows {
  int rows = 0;  ///< batch x tokens x width
  int past = -1; ///< batch x count x width, as `out`
  int out = 0;
  Extent batch, tokens;
  int64_t count = 1, width = 1;
};

/// Window attention; see runtime/core/Attention.h. Buffers of -1 are absent.
struct Attention {
  int query = 0, key = 0, value = 0, positions = -1, pastKey = -1, pastValue = -1;
  int out = 0, lse = -1, nextKey = -1, nextValue = -1;
  Extent batch, tokens;
  int64_t heads = 0, keyHeads = 0, keyWidth = 0, valueWidth = 0, window = 0;

  /// Of the products, in one document.
  double flops(int64_t B, int64_t T) const;
  /// Pairs of a token and one that it sees, over all heads.
  double pairs(int64_t B, int64_t T) const;
};

/// The gradients of `of`, whose results are read here.
struct AttentionGrad {
  Attention of;
  int outGrad = 0, lseGrad = -1;
  int queryGrad = 0, keyGrad = 0, valueGrad = 0, pastKeyGrad = -1, pastValueGrad = -1;

  double flops(int64_t B, int64_t T) const;
};

struct Copy {
  int from = 0, to = 0;
};

/// `count` copies of `from`, one behind the other; zeros if `from` is -1.
struct Repeat {
  int from = -1, to = 0;
  Extent count, elements;
};

/// to = sum over `count` pieces of `from`, in their order.
struct SumPieces {
  int from = 0, to = 0;
  Extent count, elements;
};

/// The rows of chunk n, between a tensor of tokens and one in which the rows of a head are neighbours:
/// heads[b, h, c, :] = rows[b, n C + c, h / (H / H'), :], zeros behind the last token. Back, the heads that share
/// rows are added in their order, and what lies behind the last token is dropped.
struct ChunkRows {
  bool isBack = false;
  int rows = 0;  ///< B x T x H' x width
  int heads = 0; ///< B x H x C x width
  Extent batch, tokens;
  int64_t numHeads = 1, rowHeads = 1, chunk = 1, width = 1; ///< H, H', C, width
};

struct Step {
  std::variant<Launch, Product, Lookup, LookupGrad, ShortConv, Positions, LastRows, Attention, AttentionGrad, Copy,
               Repeat, SumPieces, ChunkRows>
      what;
  std::string where; ///< source position, for plans and profiles
  int loop = -1;     ///< The loop that it belongs to.
};

/// Neighbouring steps that run once for each chunk of `chunk` tokens: for the last alone, or for the others. Or, with
/// `blocks`, once for each block of rows.
struct Loop {
  int64_t chunk = 1;
  bool isLast = false, isReverse = false;
  int64_t blocks = 0;

  int64_t count(int64_t B, int64_t T) const;
};

/// A step at its turn, in a loop for chunk or block n.
struct Turn {
  size_t step;
  int64_t n;
};

struct Plan {
  std::vector<Kernel> kernels;
  std::vector<Buffer> buffers;
  std::vector<Step> steps;
  std::vector<Loop> loops;
  int bindings = 0;
  int64_t elementBytes = 4; ///< of floats: 4 or 8

  /// Largest number of parts that a summed launch is cut into; fixed, so that
  /// sums do not depend on the number of threads.
  static constexpr int64_t kParts = 64;

  double flops(int64_t B, int64_t T) const;
  /// What runs, in order.
  std::vector<Turn> turns(int64_t B, int64_t T) const;
};

/// Offsets of the arena's buffers for one (B, T).
struct Layout {
  std::vector<int64_t> offsets; ///< bytes, per buffer; -1 for bound ones
  int64_t bytes = 0;
};

/// Places buffers by size, largest first, at the lowest offset that is free
/// while they live.
Layout layoutOf(const Plan &plan, int64_t B, int64_t T);

/// Addresses of a plan's buffers in one run. `placeViews` must follow.
std::vector<void *> addressesOf(const Plan &plan, const Layout &layout, std::byte *arena,
                                std::span<void *const> bindings);
/// Points views at the pieces of chunk or block n.
void placeViews(const Plan &plan, int64_t n, int64_t B, int64_t T, std::span<void *> addresses);

} // namespace tidegate::runtime
