//===- Model.h - What the trainer needs of a compiled model -----*- C++ -*-===//
// The border between the training loop, which knows data, schedules and files,
// and a compiled program, which knows mathematics. Everything is on the host;
// a device program copies.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/core/HostTensor.h"

#include <memory>
#include <span>
#include <string>
#include <vector>

namespace tidegate::train {

/// Targets with this value do not count in a loss.
inline constexpr int32_t kIgnoredLabel = -100;

/// B rows of T tokens. Shapes: every span is B x T, row-major, except that
/// `positions` may be empty: then a position is the index in the row.
struct TokenBatch {
  std::span<const int32_t> ids;
  std::span<const int32_t> labels; ///< The token that comes after; kIgnoredLabel does not count.
  int64_t B = 0, T = 0;
  std::span<const int32_t> positions = {}; ///< Of a token in its document: 0 starts one.
};

/// A trainable tensor; `name` is its state-dict key.
struct ParameterSpec {
  std::string name;
  std::vector<int64_t> shape;
  std::string init;  ///< "normal(0.02)", "zeros", ...; see Init.h.
  bool decay = true; ///< Whether weight decay applies.

  int64_t elements() const { return runtime::elementCount(shape); }
};

/// One AdamW update with global-norm clipping (spec/architectures 8.2).
struct StepConfig {
  double lr = 1e-3; ///< Of this step; the schedule is the trainer's business.
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-15;
  double weightDecay = 0.1; ///< Decoupled, multiplied by lr.
  double maxNorm = 1.0;     ///< Gradients are scaled by min(1, maxNorm / (norm + 1e-6)); 0: not clipped.
  int64_t step = 1;         ///< Adam's t: updates applied so far, plus this one.
};

struct StepResult {
  double loss = 0;     ///< Mean nats per counted label, before the update.
  double gradNorm = 0; ///< L2 over all gradients, before clipping.
  bool skipped = false; ///< The norm was not finite: weights and moments are untouched.
};

struct LossResult {
  double loss = 0; ///< Mean nats per counted label.
  int64_t count = 0;
};

/// What a model says of the labels of a batch; each B x T, row-major.
struct LabelScores {
  /// log softmax(logits)[label] in nats; NaN where logits of the position are NaN or +inf; 0 for kIgnoredLabel.
  std::vector<double> logProbability;
  /// Whether the label's logit is the largest, and the first of equals; false for kIgnoredLabel.
  std::vector<bool> isLikeliest;
};

/// Token-by-token use of a model: the recurrent state stays between calls.
class Decoder {
public:
  virtual ~Decoder() = default;
  /// Feeds T more tokens of every row (ids: B x T, row-major) and returns the
  /// logits after the last one: [B, vocab], in the model's dtype. With
  /// `positions` (B x T, of a model with documents) position 0 starts a document;
  /// without them the tokens go on with what was fed.
  virtual runtime::HostTensor feed(std::span<const int32_t> ids, int64_t T,
                                   std::span<const int32_t> positions = {}) = 0;
};

/// A compiled model with its weights, gradients and AdamW moments.
///
/// Shapes: ids are B x T, row-major. labels[b, t] is the token that position t
///         has to predict, so the caller has already shifted; kIgnoredLabel is
///         left out of the loss. B and T may change per call.
/// Errors: RuntimeError, InvalidArgument for ids outside [0, vocab), labels
///         outside it that are not kIgnoredLabel, positions that neither continue
///         nor start a document, and positions for a model without documents.
class Model {
public:
  virtual ~Model() = default;

  virtual const std::vector<ParameterSpec> &parameters() const = 0;
  virtual runtime::Dtype dtype() const = 0; ///< F32 or F64: of weights, gradients, moments, logits.
  virtual int64_t vocab() const = 0;
  /// True if nothing looks across the document boundaries of a row, and so if
  /// positions may be given.
  virtual bool hasDocuments() const { return false; }

  /// Views valid as long as the model; `i` counts as in parameters().
  virtual runtime::HostSpan parameter(size_t i) = 0;
  virtual runtime::HostSpan gradient(size_t i) = 0; ///< Defined after lossAndGradients.
  virtual runtime::HostSpan moment(int k, size_t i) = 0; ///< k = 0: first, 1: second; zero at start.

  /// One update by the mean over the micro-batches of the gradients of their
  /// mean losses, summed in their order; the loss is the mean of theirs. With
  /// equally many labels in each that is one large batch.
  /// Errors: also InvalidArgument without a micro-batch.
  virtual StepResult trainStep(std::span<const TokenBatch> microBatches, const StepConfig &config) = 0;
  StepResult trainStep(const TokenBatch &batch, const StepConfig &config) { return trainStep({&batch, 1}, config); }
  virtual LossResult evalLoss(const TokenBatch &batch) = 0;
  /// Leaves the gradients of the mean loss, unclipped, in gradient(i).
  virtual LossResult lossAndGradients(const TokenBatch &batch) = 0;
  /// Logits of a block of rows at a time are in memory, in dtype() on every device.
  virtual LabelScores scores(const TokenBatch &batch) = 0;
  /// [B, T, vocab]. Positions as in TokenBatch.
  virtual runtime::HostTensor logits(std::span<const int32_t> ids, int64_t B, int64_t T,
                                     std::span<const int32_t> positions = {}) = 0;
  /// Starts from the zero state and reads the weights as they are at each call.
  virtual std::unique_ptr<Decoder> decoder(int64_t B) = 0;
};

} // namespace tidegate::train
