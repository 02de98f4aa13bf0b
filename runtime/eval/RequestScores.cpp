//===- RequestScores.cpp - Accuracies of log-likelihood requests -*- C++ -*-==//
// `acc` compares sums of log-likelihoods, `acc_norm` sums over the number of
// characters of the continuation without its leading space.
//===----------------------------------------------------------------------===//
#include "runtime/eval/RequestScores.h"

#include "runtime/core/Error.h"

#include <algorithm>
#include <cmath>

using namespace tidegate;
using namespace tidegate::eval;
using nlohmann::ordered_json;
using runtime::RuntimeError;

namespace {

[[noreturn]] void refuse(const std::string &message) {
  throw RuntimeError(RuntimeError::Kind::InvalidArgument, message);
}

/// Characters, as Unicode counts them, without one leading space; at least 1.
int64_t characters(std::string_view text) {
  if (text.starts_with(' '))
    text.remove_prefix(1);
  const int64_t count = std::count_if(text.begin(), text.end(), [](char byte) { return (byte & 0xc0) != 0x80; });
  return std::max<int64_t>(count, 1);
}

/// Index of the largest element; the first of equals, as reference harnesses take it.
int64_t argMax(std::span<const double> values) {
  return std::max_element(values.begin(), values.end()) - values.begin();
}

void judge(const Request &request, RequestScore &score) {
  if (request.continuations.size() == 1) {
    score.acc = score.continuations.front().greedy;
    return;
  }
  if (!request.gold)
    return;
  std::vector<double> sums, normed;
  for (size_t i = 0; i < request.continuations.size(); ++i) {
    sums.push_back(score.continuations[i].logLikelihood);
    normed.push_back(sums.back() / static_cast<double>(characters(request.continuations[i])));
  }
  score.acc = argMax(sums) == *request.gold;
  score.accNorm = argMax(normed) == *request.gold;
}

ordered_json numberOrNull(std::optional<double> value) {
  return value && std::isfinite(*value) ? ordered_json(*value) : ordered_json(nullptr);
}

} // namespace

ScoredSequence tidegate::eval::encodeRequest(const Encode &encode, std::string_view context,
                                             std::string_view continuation, const EncodeOptions &options, bool *cut) {
  const std::string whole = std::string(context) + std::string(continuation);
  context = context.substr(0, context.find_last_not_of(' ') + 1); // npos + 1 is 0: nothing but spaces.
  ScoredSequence sequence{encode(whole), 0};
  int64_t before = static_cast<int64_t>(encode(context).size());
  sequence.scored = static_cast<int64_t>(sequence.ids.size()) - before;
  if (sequence.scored < 1)
    refuse("the continuation adds no token to its context");
  if (before == 0) {
    if (!options.bos)
      refuse("the context has no token, and the vocabulary has none that begins a text");
    sequence.ids.insert(sequence.ids.begin(), *options.bos);
  }
  if (sequence.scored > options.maxTokens)
    refuse("the continuation has " + std::to_string(sequence.scored) + " tokens, but the model is fed at most " +
           std::to_string(options.maxTokens) + "; pass a larger --seq");
  const int64_t excess = static_cast<int64_t>(sequence.ids.size()) - (options.maxTokens + 1);
  if (cut)
    *cut = excess > 0;
  if (excess > 0)
    sequence.ids.erase(sequence.ids.begin(), sequence.ids.begin() + excess);
  return sequence;
}

std::vector<RequestScore> tidegate::eval::scoreRequests(train::Model &model, const Encode &encode,
                                                        std::span<const Request> requests, int64_t B,
                                                        const EncodeOptions &options, const Advance &advance) {
  std::vector<RequestScore> scores(requests.size());
  std::vector<ScoredSequence> sequences;
  const int64_t vocab = model.vocab();
  for (size_t r = 0; r < requests.size(); ++r)
    for (size_t i = 0; i < requests[r].continuations.size(); ++i) {
      const Request &request = requests[r];
      const std::string choice =
          request.continuations.size() > 1 ? "continuation " + std::to_string(i) + ": " : std::string();
      ContinuationScore score;
      try {
        sequences.push_back(
            encodeRequest(encode, request.contextOf(i), request.continuations[i], options, &score.cut));
      } catch (const RuntimeError &error) {
        throw RuntimeError(error.kind(), request.where + ": " + choice + error.what());
      }
      for (int32_t id : sequences.back().ids)
        if (id < 0 || id >= vocab)
          refuse(request.where + ": " + choice + "token " + std::to_string(id) +
                 " is not in the model's vocabulary of " + std::to_string(vocab));
      score.tokens = sequences.back().scored;
      scores[r].continuations.push_back(score);
    }
  const std::vector<SequenceScore> results = logLikelihoods(model, sequences, B, advance);
  size_t next = 0;
  for (size_t r = 0; r < requests.size(); ++r) {
    for (ContinuationScore &score : scores[r].continuations) {
      score.logLikelihood = results[next].logLikelihood;
      score.greedy = results[next++].greedy;
    }
    judge(requests[r], scores[r]);
  }
  return scores;
}

std::optional<double> Rate::standardError() const {
  if (count < 2)
    return std::nullopt;
  const double p = mean();
  return std::sqrt(p * (1 - p) / static_cast<double>(count - 1));
}

std::optional<double> TaskSummary::perplexity() const {
  if (!golds)
    return std::nullopt;
  return std::exp(-goldLogLikelihood / static_cast<double>(golds));
}

std::vector<TaskSummary> tidegate::eval::summarize(std::span<const Request> requests,
                                                   std::span<const RequestScore> scores) {
  std::vector<TaskSummary> tasks;
  for (size_t r = 0; r < requests.size(); ++r) {
    auto task = std::find_if(tasks.begin(), tasks.end(),
                             [&](const TaskSummary &known) { return known.task == requests[r].task; });
    if (task == tasks.end()) {
      tasks.push_back({});
      task = tasks.end() - 1;
      task->task = requests[r].task;
    }
    ++task->requests;
    for (const ContinuationScore &score : scores[r].continuations) {
      ++task->continuations;
      task->tokens += score.tokens;
      task->cut += score.cut;
    }
    if (scores[r].acc)
      task->acc.add(*scores[r].acc);
    if (scores[r].accNorm)
      task->accNorm.add(*scores[r].accNorm);
    if (requests[r].gold || scores[r].continuations.size() == 1) {
      task->goldLogLikelihood += scores[r].continuations[requests[r].gold.value_or(0)].logLikelihood;
      ++task->golds;
    }
  }
  return tasks;
}

ordered_json tidegate::eval::toJson(const Request &request, const RequestScore &score) {
  ordered_json json = {{"task", request.task}};
  if (!request.id.is_null())
    json["id"] = request.id;
  for (const ContinuationScore &one : score.continuations) {
    json["log_likelihoods"].push_back(numberOrNull(one.logLikelihood));
    json["tokens"].push_back(one.tokens);
    json["greedy"].push_back(one.greedy);
  }
  if (request.gold)
    json["gold"] = *request.gold;
  if (score.acc)
    json["acc"] = *score.acc ? 1 : 0;
  if (score.accNorm)
    json["acc_norm"] = *score.accNorm ? 1 : 0;
  if (std::any_of(score.continuations.begin(), score.continuations.end(), [](const auto &one) { return one.cut; }))
    json["cut"] = true;
  return json;
}

ordered_json tidegate::eval::toJson(const TaskSummary &summary) {
  ordered_json json = {{"task", summary.task},
                       {"requests", summary.requests},
                       {"continuations", summary.continuations},
                       {"tokens", summary.tokens},
                       {"cut", summary.cut}};
  auto add = [&](const char *name, const Rate &rate) {
    if (!rate.count)
      return;
    json[name] = rate.mean();
    json[std::string(name) + "_stderr"] = numberOrNull(rate.standardError());
  };
  add("acc", summary.acc);
  add("acc_norm", summary.accNorm);
  if (summary.golds)
    json["perplexity"] = numberOrNull(summary.perplexity());
  return json;
}
