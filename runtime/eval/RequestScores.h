//===- RequestScores.h - Accuracies of log-likelihood requests --*- C++ -*-===//
// Encodes requests, scores every continuation, and sums up by task.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/eval/LogLikelihood.h"
#include "runtime/eval/Requests.h"

#include <string_view>

namespace tidegate::eval {

/// A tokenizer with its default specials: those of the start of a text are in front.
using Encode = std::function<std::vector<int32_t>(std::string_view)>;

struct EncodeOptions {
  int64_t maxTokens = 0;      ///< Most tokens of context and continuation that the model is fed.
  std::optional<int32_t> bos; ///< Stands in for a context without a token.
};

/// The tokens of context + continuation, of which the continuation's are scored:
/// those of encode(context + continuation) beyond the length of encode(context).
/// Spaces at the end of the context belong to the continuation. What exceeds
/// maxTokens + 1 (the last token is not fed) is cut off on the left.
/// Errors: InvalidArgument when the continuation adds no token, when nothing
///         stands before it, or when it alone is too long.
/// Source: the encoding of EleutherAI's evaluation harness, as spec 9.2 gives it.
ScoredSequence encodeRequest(const Encode &encode, std::string_view context, std::string_view continuation,
                             const EncodeOptions &options, bool *cut = nullptr);

struct ContinuationScore {
  double logLikelihood = 0; ///< Sum, nats.
  int64_t tokens = 0;
  bool greedy = false;
  bool cut = false; ///< Context was lost on the left.
};

/// What a request says about the model. Accuracies are there when the request
/// has a gold index, or a single continuation (right when it is greedy).
struct RequestScore {
  std::vector<ContinuationScore> continuations;
  std::optional<bool> acc, accNorm;
};

/// One score a request, in their order. Errors: as encodeRequest, naming the
/// request, and as logLikelihoods.
std::vector<RequestScore> scoreRequests(train::Model &model, const Encode &encode, std::span<const Request> requests,
                                        int64_t B, const EncodeOptions &options, const Advance &advance = {});

/// A mean over requests and its standard error, for 0/1 values sqrt(p (1 - p) / (n - 1)).
struct Rate {
  int64_t right = 0, count = 0;

  void add(bool value) { right += value, ++count; }
  double mean() const { return static_cast<double>(right) / static_cast<double>(count); }
  std::optional<double> standardError() const; ///< None for fewer than two.
};

struct TaskSummary {
  std::string task;
  int64_t requests = 0, continuations = 0, tokens = 0;
  int64_t cut = 0; ///< Continuations whose context was cut.
  Rate acc, accNorm;
  double goldLogLikelihood = 0; ///< Sum over the gold continuations, or the only ones.
  int64_t golds = 0;

  /// exp(-mean log-likelihood of a gold continuation): LAMBADA's perplexity of a last word.
  std::optional<double> perplexity() const;
};

/// One summary a task, in the order of their first requests.
std::vector<TaskSummary> summarize(std::span<const Request> requests, std::span<const RequestScore> scores);

/// One line of the result file.
nlohmann::ordered_json toJson(const Request &request, const RequestScore &score);
nlohmann::ordered_json toJson(const TaskSummary &summary);

} // namespace tidegate::eval
