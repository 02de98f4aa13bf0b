//===- attention_shape.cuh - Tiles of attention -----------------*- C++ -*-===//
// How attention is cut into tiles for a width, the larger of those of keys and
// values, and what shared memory that takes. The host, which launches, and the
// kernels ask the same functions. Accumulators of a tile must fit into registers,
// its operands into the shared memory of a block: 163 KB on sm_80, except floats
// in the backward beyond a width of 128, which need sm_90.
//===----------------------------------------------------------------------===//
#pragma once

namespace tidegate::device {

constexpr int kMaxAttentionWidth = 256;

/// Tokens whose first visible rows are kept together for the backward.
constexpr int kAttentionGroup = 64;

constexpr int paddedWidth(int width) { return (width + 15) / 16 * 16; }

/// Rows of own tokens that a block works on, rows of others that it walks over at
/// a time, buffers for them, and whether operands of own rows stay in registers.
struct AttentionShape {
  int own, others, stages;
  bool inRegisters;
};

/// The forward: own are queries, others keys.
constexpr AttentionShape attentionShape(int elementBytes, int width) {
  if (elementBytes == 4)
    return {64, width <= 128 ? 64 : 32, 1, false};
  if (width <= 64)
    return {128, 64, 2, true};
  if (width <= 96)
    return {128, 32, 2, false};
  return width <= 128 ? AttentionShape{64, 64, 2, true} : AttentionShape{64, 32, 2, false};
}

/// The gradient by queries: own are queries, others keys.
constexpr AttentionShape queryGradShape(int elementBytes, int width) {
  if (elementBytes == 4)
    return {64, width <= 128 ? 32 : 16, 1, false};
  return {64, width <= 128 ? 64 : 32, 2, width <= 64};
}

/// The gradients by keys and values: own are keys, others queries.
constexpr AttentionShape keyGradShape(int elementBytes, int width) {
  if (elementBytes == 4)
    return {64, width <= 128 ? 32 : 16, 1, false};
  return {64, width <= 64 ? 64 : 32, 2, width <= 64};
}

/// Tiles of two operands, own and others; in float the weights, which stand in
/// registers otherwise; and per row of a tile up to three numbers.
constexpr int attentionShared(AttentionShape shape, int elementBytes, int keyWidth, int valueWidth, int ownOperands,
                              int weights) {
  const int keys = paddedWidth(keyWidth), values = paddedWidth(valueWidth);
  return elementBytes *
             ((ownOperands == 2 ? keys + values : keys) * shape.own + shape.stages * (keys + values) * shape.others) +
         (elementBytes == 4 ? weights * 4 * shape.own * shape.others : 0) +
         3 * 4 * shape.stages * (shape.own > shape.others ? shape.own : shape.others);
}

constexpr int attentionShared(int elementBytes, int keyWidth, int valueWidth) {
  return attentionShared(attentionShape(elementBytes, keyWidth > valueWidth ? keyWidth : valueWidth), elementBytes,
                         keyWidth, valueWidth, 1, 1);
}
constexpr int queryGradShared(int elementBytes, int keyWidth, int valueWidth) {
  return attentionShared(queryGradShape(elementBytes, keyWidth > valueWidth ? keyWidth : valueWidth), elementBytes,
                         keyWidth, valueWidth, 2, 1);
}
constexpr int keyGradShared(int elementBytes, int keyWidth, int valueWidth) {
  return attentionShared(keyGradShape(elementBytes, keyWidth > valueWidth ? keyWidth : valueWidth), elementBytes,
                         keyWidth, valueWidth, 2, 1);
}

/// Whether the gradients by keys and by values are too wide for one pass.
constexpr bool keyGradIsSplit(int keyWidth, int valueWidth) {
  return paddedWidth(keyWidth) + paddedWidth(valueWidth) > 256;
}

} // namespace tidegate::device
