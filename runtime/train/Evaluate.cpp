//===- Evaluate.cpp - Bits per byte, ours and gzip's ------------*- C++ -*-===//
// The state does not cross windows, so a longer window can only help.
//===----------------------------------------------------------------------===//
#include "runtime/train/Evaluate.h"

#include "runtime/core/Error.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <zlib.h>

using namespace tidegate::train;
using tidegate::runtime::RuntimeError;

TextLoss tidegate::train::evaluateText(Model &model, const data::HeldOut &text, int64_t vocab, int64_t most, int64_t B,
                                       int64_t T) {
  const int64_t all = static_cast<int64_t>(text.ids.size()), tokens = std::min(all, most), targets = tokens - 1;
  if (targets < 1)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       "expected at least 2 tokens to evaluate on, but got " + std::to_string(tokens));
  T = std::min(T, targets);
  const int64_t windows = (targets + T - 1) / T;
  std::vector<int32_t> ids, labels, positions;
  double sum = 0;
  for (int64_t first = 0; first < windows; first += B) {
    const int64_t rows = std::min(B, windows - first);
    ids.assign(rows * T, 0);
    labels.assign(rows * T, kIgnoredLabel); // The last window may be short: nothing counts behind its end.
    positions.assign(text.positions.empty() ? 0 : rows * T, 0);
    for (int64_t i = 0, from = first * T; i < rows * T && from + i < targets; ++i) {
      ids[i] = text.ids[from + i];
      labels[i] = text.ids[from + i + 1];
      if (!positions.empty())
        positions[i] = std::min(text.positions[from + i], static_cast<int32_t>(i % T));
    }
    LossResult result = model.evalLoss({ids, labels, rows, T, positions});
    sum += result.loss * static_cast<double>(result.count);
  }
  const double bytes = static_cast<double>(text.textBytes) * static_cast<double>(tokens) / static_cast<double>(all);
  return {sum / static_cast<double>(targets), (sum / std::numbers::ln2 + std::log2(double(vocab))) / bytes, tokens,
          std::llround(bytes)};
}

double tidegate::train::gzipBitsPerByte(std::string_view text) {
  constexpr int kGzipFraming = 16, kMemLevel = 8;
  z_stream stream{};
  if (deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, MAX_WBITS + kGzipFraming, kMemLevel,
                   Z_DEFAULT_STRATEGY) != Z_OK)
    throw RuntimeError(RuntimeError::Kind::Internal, "zlib refuses to compress");
  std::array<Bytef, 1 << 16> buffer;
  uint64_t compressed = 0;
  std::string_view rest = text;
  int status = Z_OK;
  while (status == Z_OK) {
    if (stream.avail_in == 0 && !rest.empty()) {
      size_t piece = std::min<size_t>(rest.size(), std::numeric_limits<uInt>::max());
      stream.next_in = reinterpret_cast<Bytef *>(const_cast<char *>(rest.data()));
      stream.avail_in = static_cast<uInt>(piece);
      rest.remove_prefix(piece);
    }
    stream.next_out = buffer.data();
    stream.avail_out = static_cast<uInt>(buffer.size());
    status = deflate(&stream, rest.empty() ? Z_FINISH : Z_NO_FLUSH);
    compressed += buffer.size() - stream.avail_out;
  }
  deflateEnd(&stream);
  if (status != Z_STREAM_END)
    throw RuntimeError(RuntimeError::Kind::Internal, "zlib stopped with status " + std::to_string(status));
  return 8.0 * static_cast<double>(compressed) / static_cast<double>(text.size());
}
