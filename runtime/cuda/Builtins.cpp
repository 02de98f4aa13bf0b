//===- Builtins.cpp - The steps of a plan that are not generated *- C++ -*-===//
#include "runtime/cuda/Builtins.h"

#include "runtime/core/Error.h"
#include "runtime/device/Library.h"
#include "runtime/device/arguments.cuh"
#include "runtime/device/attention_shape.cuh"

#include <algorithm>
#include <bit>
#include <numeric>

using namespace tidegate::runtime;
using namespace tidegate::runtime::cuda;
using namespace tidegate::device;

namespace {

int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

const char *nameOf(Dtype dtype) {
  if (dtype == Dtype::BF16)
    return "bf16";
  if (dtype == Dtype::F32)
    return "float";
  throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                     "expected bf16 or f32 on the GPU, but got " + std::string(dtypeName(dtype)));
}

std::string textOf(Dtype dtype) { return nameOf(dtype); }
std::string textOf(int64_t number) { return std::to_string(number); }

/// "function<A, B>(a, blockIdx.x, more)".
template <typename... Arguments>
std::string callOf(const std::string &function, const std::string &more, const Arguments &...arguments) {
  std::string list;
  ((list += (list.empty() ? "" : ", ") + textOf(arguments)), ...);
  return function + (list.empty() ? "" : "<" + list + ">") + "(a, " + more + ")";
}

template <typename Argument>
BuiltinLaunch launchOf(BuiltinKernel kernel, LaunchShape shape, const Argument &argument) {
  shape.threads = kBuiltinThreads;
  std::vector<std::byte> bytes(sizeof argument);
  std::memcpy(bytes.data(), &argument, sizeof argument);
  return {std::move(kernel), shape, std::move(bytes)};
}

/// Elements of one access: what divides a row, up to 16 bytes of the narrower type.
int64_t unitOf(int64_t width, std::initializer_list<Dtype> dtypes, int64_t most = 8) {
  const bool isWide = std::ranges::all_of(dtypes, [](Dtype dtype) { return dtype == Dtype::F32; });
  const int64_t unit = std::gcd(width, isWide ? 4 : 8);
  return std::max<int64_t>(1, std::min(unit, most));
}

/// The launches of a step; pieces of the workspace are handed out from its start.
class Launches {
public:
  explicit Launches(const Frame &frame) : frame(frame) {}

  std::vector<BuiltinLaunch> all;
  int64_t workspace = 0; ///< bytes handed out

  void operator()(const Launch &) {}
  void operator()(const Product &) {}
  void operator()(const Copy &) {}
  void operator()(const Repeat &) {}
  void operator()(const SumPieces &s) {
    all.push_back(sumOfParts(at(s.from), {at(s.to), type(s.to)}, at(s.count), at(s.elements)));
  }
  void operator()(const ChunkRows &);
  void operator()(const Lookup &);
  void operator()(const LookupGrad &);
  void operator()(const ShortConv &);
  void operator()(const Positions &);
  void operator()(const LastRows &);
  void operator()(const Attention &);
  void operator()(const AttentionGrad &);

private:
  /// The address of a buffer; null for -1.
  void *at(int buffer) const {
    if (buffer < 0 || frame.addresses.empty())
      return nullptr;
    void *address = frame.addresses[buffer];
    if (reinterpret_cast<uintptr_t>(address) % 16)
      throw RuntimeError(RuntimeError::Kind::Internal,
                         "buffer " + std::to_string(buffer) + " of the plan is not aligned to 16 bytes");
    return address;
  }
  const int *ints(int buffer) const { return static_cast<const int *>(at(buffer)); }
  /// The element type of a float buffer; that of an absent one does not matter.
  Dtype type(int buffer) const {
    return buffer >= 0 && frame.plan.buffers[buffer].elementBytes == 2 ? Dtype::BF16 : Dtype::F32;
  }
  int64_t at(const Extent &extent) const { return extent.at(frame.B, frame.T, frame.chunk); }

  template <typename T>
  T *take(int64_t count) {
    auto *place = reinterpret_cast<T *>(static_cast<std::byte *>(frame.workspace) + workspace);
    workspace += ceilDiv(count * int64_t(sizeof(T)), 256) * 256;
    return place;
  }

  template <typename Argument>
  void add(BuiltinKernel kernel, LaunchShape shape, const Argument &argument) {
    all.push_back(launchOf(std::move(kernel), shape, argument));
  }

  AttentionArguments argumentsOf(const Attention &) const;
  /// Bytes of an operand's element in shared memory: that of the widest of them.
  int operandBytes(std::initializer_list<int> buffers) const {
    return std::ranges::all_of(buffers, [&](int buffer) { return buffer < 0 || type(buffer) == Dtype::BF16; }) ? 2 : 4;
  }
  /// The element type of an optional operand; an absent one does not make the others wider.
  Dtype typeOr(int buffer, Dtype absent) const { return buffer < 0 ? absent : type(buffer); }

  const Frame &frame;
};

void Launches::operator()(const Lookup &l) {
  const int64_t count = at(l.count), unit = unitOf(l.width, {type(l.table), type(l.out)});
  add({"lookup", "lookup.cuh", "LookupArguments",
       callOf("lookupBlock", "blockIdx.x", type(l.table), type(l.out), unit)},
      {.blocks = ceilDiv(count, kBuiltinWarps)},
      LookupArguments{at(l.table), ints(l.ids), at(l.out), count, l.rows, l.width});
}

void Launches::operator()(const LookupGrad &l) {
  const int64_t count = at(l.count), unit = unitOf(l.width, {type(l.in), type(l.out)});
  if (count > INT32_MAX || l.rows >= INT32_MAX)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       "expected fewer than 2^31 ids and rows in the gradient of a lookup, but got " +
                           std::to_string(count) + " ids and " + std::to_string(l.rows) + " rows");
  const int64_t blocks = ceilDiv(count, kSortRows), pieces = ceilDiv(count, kPieceRows),
                slices = ceilDiv(l.width, kBuiltinThreads * unit);
  int *keys[2] = {take<int>(count), take<int>(count)}, *order[2] = {take<int>(count), take<int>(count)};
  int *counts = take<int>(blocks * kDigits), *starts = take<int>(l.rows + 1);
  float *parts = take<float>(pieces * 2 * l.width);
  int pass = 0;
  for (int shift = 0; pass == 0 || l.rows >> shift; shift += kDigitBits, ++pass) {
    const int from = pass % 2, to = 1 - from;
    const SortArguments sort{pass ? keys[from] : ints(l.ids),
                             pass ? order[from] : nullptr,
                             keys[to],
                             order[to],
                             counts,
                             count,
                             l.rows,
                             shift};
    const std::string counters = "{reinterpret_cast<unsigned short *>(shared)}";
    add({"lookup_grad_counts", "lookup.cuh", "SortArguments", callOf("digitCountsBlock", "blockIdx.x, " + counters)},
        {.blocks = blocks, .sharedBytes = kCounterBytes}, sort);
    add({"lookup_grad_places", "lookup.cuh", "SortArguments",
         callOf("digitPlacesBlock", "blockIdx.x, " + counters + ", reinterpret_cast<int *>(shared + kCounterBytes)")},
        {.blocks = blocks, .sharedBytes = kCounterBytes + kDigits * 4}, sort);
  }
  const RunArguments run{at(l.in), keys[pass % 2], order[pass % 2], starts, parts, at(l.out), count, l.rows, l.width};
  add({"lookup_grad_starts", "lookup.cuh", "RunArguments", callOf("runStartsBlock", "blockIdx.x")},
      {.blocks = ceilDiv(l.rows + 1, kBuiltinThreads)}, run);
  add({"lookup_grad_sums", "lookup.cuh", "RunArguments",
       callOf("runSumsBlock", "blockIdx.x, blockIdx.y, reinterpret_cast<int *>(shared)", type(l.in), type(l.out),
              unit)},
      {.blocks = pieces, .sharedBytes = kPieceBytes, .blocksY = slices}, run);
  add({"lookup_grad_totals", "lookup.cuh", "RunArguments", callOf("runTotalsBlock", "blockIdx.x", type(l.out), unit)},
      {.blocks = ceilDiv(l.rows, kBuiltinWarps)}, run);
}

void Launches::operator()(const ShortConv &s) {
  const int64_t batch = at(s.batch), tokens = at(s.tokens), taps = s.width, edge = taps - 1;
  // A window of taps x unit values, the rows ahead, and as many weights or sums, must fit into registers of many warps.
  constexpr int64_t kWindow = 16;
  const int64_t unit =
      unitOf(s.channels, {type(s.rows), type(s.out)},
             std::max<int64_t>(1, int64_t(std::bit_floor(uint64_t(kWindow / std::min<int64_t>(taps, kWindow))))));
  ShortConvArguments a{at(s.rows), at(s.with), at(s.edge), ints(s.positions), at(s.out), at(s.outEdge),
                       nullptr,    batch,      tokens,     s.channels};
  auto runs = [&](int64_t rows) {
    return LaunchShape{.blocks = ceilDiv(batch * ceilDiv(rows, kConvRun) * (s.channels / unit), kBuiltinThreads)};
  };
  auto kernel = [&](const char *name, const std::string &call) {
    return BuiltinKernel{name, "short_conv.cuh", "ShortConvArguments", call};
  };
  switch (s.kind) {
  case ShortConv::Kind::Forward:
    add(kernel("short_conv", callOf("shortConvBlock", "blockIdx.x", type(s.rows), type(s.with), type(s.edge),
                                    type(s.out), taps, unit)),
        runs(tokens), a);
    if (s.outEdge >= 0)
      (*this)(LastRows{s.rows, s.edge, s.outEdge, s.batch, s.tokens, edge, s.channels});
    break;
  case ShortConv::Kind::InputGrad:
    add(kernel("short_conv_input_grad", callOf("shortConvInputGradBlock", "blockIdx.x", type(s.rows), type(s.with),
                                               type(s.edge), type(s.out), type(s.outEdge), taps, unit)),
        runs(s.outEdge < 0 ? tokens : tokens + edge), a);
    break;
  case ShortConv::Kind::WeightGrad: {
    const int64_t parts = batch * ceilDiv(tokens, kWeightTokens);
    a.out = nullptr;
    a.parts = take<float>(parts * s.channels * taps);
    add(kernel("short_conv_weight_grad",
               callOf("shortConvWeightGradBlock", "blockIdx.x, reinterpret_cast<float *>(shared)", type(s.rows),
                      type(s.with), type(s.edge), taps, unit)),
        {.blocks = parts * ceilDiv(s.channels, 32 * unit), .sharedBytes = kBuiltinThreads * taps * unit * 4}, a);
    all.push_back(sumOfParts(a.parts, {at(s.out), type(s.out)}, parts, s.channels * taps));
    break;
  }
  }
}

void Launches::operator()(const LastRows &l) {
  const int64_t batch = at(l.batch);
  add({"last_rows", "elements.cuh", "LastRowsArguments",
       callOf("lastRowsBlock", "blockIdx.x", type(l.rows), type(l.past), type(l.out),
              unitOf(l.width, {type(l.rows), type(l.past), type(l.out)}))},
      {.blocks = ceilDiv(batch * l.count, kBuiltinWarps)},
      LastRowsArguments{at(l.rows), at(l.past), at(l.out), batch, at(l.tokens), l.count, l.width});
}

void Launches::operator()(const Positions &p) {
  const int64_t batch = at(p.batch), tokens = at(p.tokens);
  add({"positions", "elements.cuh", "PositionArguments", callOf("positionsBlock", "blockIdx.x")},
      {.blocks = ceilDiv(batch * tokens, kBuiltinThreads)},
      PositionArguments{ints(p.first), static_cast<int *>(at(p.out)), static_cast<int *>(at(p.next)), batch, tokens});
}

void Launches::operator()(const ChunkRows &c) {
  const int64_t unit = unitOf(c.width, {type(c.rows), type(c.heads)});
  if (c.chunk * c.width > INT32_MAX)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       "expected fewer than 2^31 numbers of one head in a chunk, but got " + std::to_string(c.chunk) +
                           " rows of " + std::to_string(c.width));
  add({c.isBack ? "heads_to_rows" : "rows_to_heads", "elements.cuh", "ChunkRowsArguments",
       callOf(c.isBack ? "headsToRowsBlock" : "rowsToHeadsBlock", "blockIdx.x, blockIdx.y, blockIdx.z", type(c.rows),
              type(c.heads), unit)},
      {.blocks = ceilDiv(c.chunk * c.width, kBuiltinThreads * unit),
       .blocksY = c.isBack ? c.rowHeads : c.numHeads,
       .blocksZ = at(c.batch)},
      ChunkRowsArguments{at(c.rows), at(c.heads), at(c.batch), at(c.tokens), frame.chunk * c.chunk, c.numHeads,
                         c.rowHeads, c.chunk, c.width});
}

AttentionArguments Launches::argumentsOf(const Attention &s) const {
  if (s.keyWidth < 1 || s.valueWidth < 1 || std::max(s.keyWidth, s.valueWidth) > kMaxAttentionWidth)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       "expected heads of 1 to " + std::to_string(kMaxAttentionWidth) +
                           " channels in attention on the GPU, but got keys of " + std::to_string(s.keyWidth) +
                           " and values of " + std::to_string(s.valueWidth));
  const int64_t tokens = at(s.tokens);
  if (tokens + s.window > INT32_MAX)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       "expected fewer than 2^31 tokens and rows of the window in attention, but got " +
                           std::to_string(tokens) + " and " + std::to_string(s.window));
  return {at(s.query), at(s.key), at(s.value), ints(s.positions), at(s.pastKey), at(s.pastValue), at(s.out), at(s.lse),
          at(s.batch), tokens,    s.heads,     s.keyHeads,        s.keyWidth,    s.valueWidth,    s.window};
}

void Launches::operator()(const Attention &s) {
  const AttentionArguments a = argumentsOf(s);
  const int bytes = operandBytes({s.query, s.key, s.value, s.pastKey, s.pastValue});
  const AttentionShape shape = attentionShape(bytes, int(std::max(s.keyWidth, s.valueWidth)));
  add({"attention", "attention.cuh", "AttentionArguments",
       callOf("attentionBlock", "blockIdx.x, blockIdx.y, blockIdx.z, shared", type(s.query), type(s.key), type(s.value),
              typeOr(s.pastKey, type(s.key)), typeOr(s.pastValue, type(s.value)), type(s.out), type(s.lse), s.keyWidth,
              s.valueWidth),
       bytes == 2 ? 2 : 1},
      {.blocks = a.tokens ? ceilDiv(a.tokens, shape.own) : 0,
       .sharedBytes = attentionShared(bytes, int(s.keyWidth), int(s.valueWidth)),
       .blocksY = s.heads,
       .blocksZ = a.batch},
      a);
  if (s.nextKey >= 0)
    (*this)(LastRows{s.key, s.pastKey, s.nextKey, s.batch, s.tokens, s.window - 1, s.keyHeads * s.keyWidth});
  if (s.nextValue >= 0)
    (*this)(LastRows{s.value, s.pastValue, s.nextValue, s.batch, s.tokens, s.window - 1, s.keyHeads * s.valueWidth});
}

void Launches::operator()(const AttentionGrad &g) {
  const Attention &s = g.of;
  const AttentionArguments of = argumentsOf(s);
  const int64_t padded = ceilDiv(of.tokens, kAttentionGroup) * kAttentionGroup, groups = padded / kAttentionGroup;
  const bool hasPast = s.pastKey >= 0;
  AttentionGradArguments a{of,
                           at(g.outGrad),
                           at(g.lseGrad),
                           at(g.queryGrad),
                           at(g.keyGrad),
                           at(g.valueGrad),
                           hasPast ? at(g.pastKeyGrad) : nullptr,
                           hasPast ? at(g.pastValueGrad) : nullptr,
                           take<float>(of.batch * s.heads * padded),
                           take<float>(of.batch * s.heads * padded),
                           take<int>(of.batch * padded),
                           take<int>(of.batch * groups * 2),
                           padded};
  const int keyWidth = int(s.keyWidth), valueWidth = int(s.valueWidth), width = std::max(keyWidth, valueWidth);
  const int bytes = operandBytes({s.query, s.key, s.value, s.pastKey, s.pastValue, g.outGrad});
  const Dtype pastKey = typeOr(s.pastKey, type(s.key)), pastValue = typeOr(s.pastValue, type(s.value));
  auto kernel = [&](const char *name, const std::string &call) {
    return BuiltinKernel{name, "attention_grad.cuh", "AttentionGradArguments", call, bytes == 2 ? 2 : 1};
  };
  const char *const place = "blockIdx.x, blockIdx.y, blockIdx.z, shared";
  add(kernel("attention_base", callOf("attentionBaseBlock", "blockIdx.x", type(s.out), type(g.outGrad), type(s.lse),
                                      type(g.lseGrad), s.valueWidth)),
      {.blocks = of.batch * groups}, a);
  add(kernel("attention_query_grad",
             callOf("attentionQueryGradBlock", place, type(s.query), type(s.key), type(s.value), pastKey, pastValue,
                    type(g.outGrad), type(g.queryGrad), s.keyWidth, s.valueWidth)),
      {.blocks = ceilDiv(of.tokens, queryGradShape(bytes, width).own),
       .sharedBytes = queryGradShared(bytes, keyWidth, valueWidth),
       .blocksY = s.heads,
       .blocksZ = of.batch},
      a);
  auto byKeys = [&](int64_t isByKeys, int64_t isByValues) {
    add(kernel("attention_key_grad",
               callOf("attentionKeyGradBlock", place, type(s.query), type(s.key), type(s.value), pastKey, pastValue,
                      type(g.outGrad), type(g.keyGrad), type(g.valueGrad), type(g.pastKeyGrad), type(g.pastValueGrad),
                      s.keyWidth, s.valueWidth, isByKeys, isByValues)),
        {.blocks = ceilDiv(of.tokens + (hasPast ? s.window - 1 : 0), keyGradShape(bytes, width).own),
         .sharedBytes = keyGradShared(bytes, keyWidth, valueWidth),
         .blocksY = s.keyHeads,
         .blocksZ = of.batch},
        a);
  };
  if (keyGradIsSplit(keyWidth, valueWidth)) {
    byKeys(1, 0);
    byKeys(0, 1);
  } else {
    byKeys(1, 1);
  }
  // Without a past the gradients by it are zeros.
  for (auto [buffer, rowWidth] : {std::pair{g.pastKeyGrad, s.keyWidth}, {g.pastValueGrad, s.valueWidth}})
    if (buffer >= 0 && !hasPast)
      all.push_back(fillOf({at(buffer), type(buffer)}, of.batch * (s.window - 1) * s.keyHeads * rowWidth, 0));
}

Launches launchesOf(const Step &step, const Frame &frame) {
  Launches launches(frame);
  std::visit(launches, step.what);
  return launches;
}

} // namespace

ProgramText BuiltinKernel::program() const {
  ProgramText text;
  text.name = name;
  text.source = "#include \"runtime/device/" + header +
                "\"\n"
                "using namespace tidegate::device;\n"
                "extern \"C\" __global__ __launch_bounds__(kThreads, " +
                std::to_string(blocks) + ") void " + name + "(const __grid_constant__ " + arguments +
                " a) {\n"
                "  extern __shared__ __align__(1024) unsigned char shared[];\n"
                "  " +
                call + ";\n}\n";
  text.headers = libraryHeaders();
  return text;
}

std::vector<BuiltinLaunch> cuda::builtinLaunches(const Step &step, const Frame &frame) {
  return launchesOf(step, frame).all;
}

int64_t cuda::builtinWorkspace(const Plan &plan, int64_t B, int64_t T) {
  int64_t bytes = 0;
  for (const Step &step : plan.steps)
    bytes = std::max(bytes, launchesOf(step, {plan, B, T, {}}).workspace);
  return bytes;
}

BuiltinLaunch cuda::sumOfParts(const void *parts, DeviceArray total, int64_t count, int64_t elements) {
  return launchOf({"sum_parts", "elements.cuh", "SumArguments",
                   callOf("sumPartsBlock", "blockIdx.x, reinterpret_cast<float *>(shared)", total.dtype)},
                  {.blocks = ceilDiv(elements, 32), .sharedBytes = 32 * kBuiltinWarps * 4},
                  SumArguments{static_cast<const float *>(parts), total.address, count, elements});
}

BuiltinLaunch cuda::castOf(DeviceArray from, DeviceArray to, int64_t count) {
  const int64_t unit = unitOf(count, {from.dtype, to.dtype});
  return launchOf(
      {"cast", "elements.cuh", "CastArguments", callOf("castBlock", "blockIdx.x", from.dtype, to.dtype, unit)},
      {.blocks = ceilDiv(count, kStreamRounds * kBuiltinThreads * unit)},
      CastArguments{from.address, to.address, count});
}

BuiltinLaunch cuda::fillOf(DeviceArray to, int64_t count, float value) {
  return launchOf({"fill", "elements.cuh", "FillArguments", callOf("fillBlock", "blockIdx.x", to.dtype)},
                  {.blocks = ceilDiv(count, kStreamRounds * kBuiltinThreads)}, FillArguments{to.address, count, value});
}

std::vector<ProgramText> cuda::builtinPrograms(const Plan &plan) {
  std::map<std::string, BuiltinKernel> kernels; // by header and call
  auto add = [&](const BuiltinLaunch &launch) {
    kernels.try_emplace(launch.kernel.header + " " + launch.kernel.call, launch.kernel);
  };
  for (const Step &step : plan.steps) {
    for (const BuiltinLaunch &launch : builtinLaunches(step, {plan, 1, 1, {}}))
      add(launch);
    if (auto *launch = std::get_if<Launch>(&step.what))
      for (const Launch::Sum &sum : launch->sums)
        add(sumOfParts(nullptr, {nullptr, plan.buffers[sum.total].elementBytes == 2 ? Dtype::BF16 : Dtype::F32}, 1,
                       sum.elements));
  }
  std::vector<ProgramText> programs;
  for (const auto &[name, kernel] : kernels)
    programs.push_back(kernel.program());
  return programs;
}

void Builtins::run(const Step &step, const Frame &frame, const Stream &stream) {
  for (const BuiltinLaunch &launch : builtinLaunches(step, frame))
    run(launch, stream);
}

void Builtins::run(const BuiltinLaunch &launch, const Stream &stream) {
  const Function *&function = functions[launch.kernel.header + " " + launch.kernel.call];
  if (!function)
    function = &kernels.function(launch.kernel.program(), launch.kernel.name);
  void *arguments[] = {const_cast<std::byte *>(launch.argument.data())};
  function->launchRaw(stream, launch.shape, arguments);
}
