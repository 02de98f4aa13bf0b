//===- arguments.cuh - What the built-in kernels are given ------*- C++ -*-===//
// One structure per kernel, passed by value, and what a block does, which decides
// the number of blocks. The host reads the same definitions, so there is nothing
// here but data. Absent arrays are null. Element types of `void` arrays are
// template arguments of the kernels.
//===----------------------------------------------------------------------===//
#pragma once

namespace tidegate::device {

/// Of a block of every built-in kernel.
constexpr int kBuiltinWarps = 4, kBuiltinThreads = 32 * kBuiltinWarps;

constexpr int kStreamRounds = 4; ///< units that a thread of fills and casts moves: loads under way

struct FillArguments {
  void *to;
  long long count;
  float value;
};

struct CastArguments {
  const void *from;
  void *to;
  long long count;
};

/// out[i] = sum over p of parts[p, i].
struct SumArguments {
  const float *parts; ///< count x elements
  void *out;
  long long count, elements;
};

/// out[b, t] = first[b] + t, next[b] = first[b] + tokens.
struct PositionArguments {
  const int *first; ///< null: zeros
  int *out, *next;  ///< null: not stored
  long long batch, tokens;
};

/// next = the last `edge` rows of past followed by rows, per batch row.
struct LastRowsArguments {
  const void *rows; ///< batch x tokens x width
  const void *past; ///< batch x edge x width; null: zeros
  void *next;       ///< batch x edge x width
  long long batch, tokens, edge, width;
};

/// Rows of tokens `first` .. `first + chunk - 1` of a batch, and as heads that have them for neighbours; H' of
/// `rowHeads` heads divide H. See ChunkRows in runtime/core/Plan.h.
struct ChunkRowsArguments {
  void *rows;  ///< batch x tokens x rowHeads x width
  void *heads; ///< batch x numHeads x chunk x width
  long long batch, tokens, first, numHeads, rowHeads, chunk, width;
};

/// out[i] = table[ids[i]], zeros for an id outside [0, rows).
struct LookupArguments {
  const void *table; ///< rows x width
  const int *ids;    ///< count
  void *out;         ///< count x width
  long long count, rows, width;
};

constexpr int kDigitBits = 8, kDigits = 1 << kDigitBits;
constexpr int kSortEach = 8, kSortRows = kSortEach * kBuiltinThreads; ///< keys of a thread and of a block
/// Shared memory of counts of each digit by thread; two more columns, so that they fall on different banks.
constexpr int kCounterStride = kBuiltinThreads + 2, kCounterBytes = kDigits * kCounterStride * 2;

/// One pass of a stable sort by a digit of the keys.
struct SortArguments {
  const int *keys, *order; ///< null order: keys are ids, in the order of their places
  int *sortedKeys, *sortedOrder;
  int *counts; ///< blocks x digits
  long long count, rows;
  int shift; ///< of the digit in the key, in bits
};

constexpr int kPieceRows = 64;                        ///< sorted rows of a block
constexpr int kPieceBytes = (2 * kPieceRows + 2) * 4; ///< of shared memory

/// Sums of the rows of equal keys.
struct RunArguments {
  const void *in;          ///< count x width
  const int *keys, *order; ///< sorted; key `rows` is none
  int *starts;             ///< rows + 1: where the runs begin
  float *parts;            ///< pieces x 2 x width: runs that cross pieces
  void *out;               ///< rows x width
  long long count, rows, width;
};

constexpr int kConvRun = 32; ///< tokens of a thread
/// Tokens whose products a block of the weight gradient adds: kBuiltinWarps shares of kWeightRun.
constexpr int kWeightRun = 64, kWeightTokens = kWeightRun * kBuiltinWarps;

/// See runtime/core/ShortConv.h.
struct ShortConvArguments {
  const void *rows;     ///< batch x tokens x channels: x, or the cotangent dy of the result
  const void *with;     ///< weights, channels x taps; of the weight gradient dy
  const void *edge;     ///< batch x taps-1 x channels: past, or dnext; null: zeros
  const int *positions; ///< batch x tokens; null: one document
  void *out;
  void *outEdge; ///< dpast of the input gradient; null: not stored
  float *parts;  ///< of the weight gradient: blocks of tokens x channels x taps
  long long batch, tokens, channels;
};

/// See runtime/core/Attention.h.
struct AttentionArguments {
  const void *query, *key, *value;
  const int *positions;
  const void *pastKey, *pastValue;
  void *out, *lse;
  long long batch, tokens, heads, keyHeads, keyWidth, valueWidth, window;
};

/// The gradients of attention. What the tokens need beside their rows is worked out
/// first, padded to whole groups of kAttentionGroup tokens (`padded` in all).
struct AttentionGradArguments {
  AttentionArguments of; ///< its results are read
  const void *outGrad, *lseGrad;
  void *queryGrad, *keyGrad, *valueGrad, *pastKeyGrad, *pastValueGrad;
  float *base;      ///< batch x heads x padded: the part of a slope that no key changes
  float *scaledLse; ///< batch x heads x padded: lse in units of log 2; inf beyond the end
  int *first;       ///< batch x padded: the first row that a token sees
  int *groups;      ///< batch x padded / kAttentionGroup x 2: the lowest and the highest of them
  long long padded;
};

} // namespace tidegate::device
