//===- RequestsTest.cpp -----------------------------------------*- C++ -*-===//
// Reading requests, the encoding rule, accuracies and their errors.
//===----------------------------------------------------------------------===//
#include "runtime/core/Error.h"
#include "runtime/eval/RequestScores.h"
#include "runtime/data/Tokenizer.h"
#include "runtime/train/Init.h"
#include "tests/unit/runtime/BigramModel.h"
#include "tests/unit/runtime/TestFiles.h"

#include <gtest/gtest.h>

using namespace tidegate;
using namespace tidegate::eval;
using namespace tidegate::test;
using runtime::RuntimeError;

namespace {

std::vector<Request> requestsOf(const std::string &text) {
  ScratchDirectory scratch;
  writeText(scratch.path("r.jsonl"), text);
  return readRequests(scratch.path("r.jsonl"));
}

std::string refusal(const std::string &text) {
  std::string message = messageOf<RuntimeError>([&] { requestsOf(text); });
  return message.substr(message.find("r.jsonl"));
}

/// Words of one letter; "ab" is one token, and 1 stands at the start of every text.
std::vector<int32_t> encodeLetters(std::string_view text) {
  std::vector<int32_t> ids{1};
  for (size_t i = 0; i < text.size(); ++i)
    if (text.substr(i, 2) == "ab")
      ids.push_back(2), ++i;
    else
      ids.push_back(static_cast<unsigned char>(text[i]));
  return ids;
}

/// Bytes, 272 ids.
struct Model : BigramModel<double> {
  Model() : BigramModel(272) {
    train::initialiseParameters(*this, 5);
    for (double &w : parameter(0).as<double>())
      w *= 50;
  }
  double logProbability(int32_t before, int32_t id) {
    auto table = parameter(0).as<double>();
    double total = 0;
    for (int v = 0; v < 272; ++v)
      total += std::exp(table[before * 272 + v]);
    return table[before * 272 + id] - std::log(total);
  }
  /// Log-likelihood of text after `before`.
  double sum(char before, const std::string &text) {
    double sum = 0;
    for (char c : text) {
      sum += logProbability(before, c);
      before = c;
    }
    return sum;
  }
  int32_t likeliest(int32_t before) {
    auto row = parameter(0).as<double>().subspan(before * 272, 272);
    return int32_t(std::max_element(row.begin(), row.end()) - row.begin());
  }
};

std::vector<int32_t> encodeBytes(std::string_view text) { return data::makeByteTokenizer()->encode(text); }

std::vector<RequestScore> score(Model &model, std::span<const Request> requests, int64_t B = 4,
                                int64_t maxTokens = 100) {
  return scoreRequests(model, encodeBytes, requests, B, {maxTokens, std::nullopt});
}

} // namespace

TEST(RequestsTest, ReadsWhatIsThere) {
  auto requests = requestsOf(R"({"context": "Who?", "continuations": [" I", " you"], "gold": 1, "task": "t", "id": 7}

{"context": ["a ", "b "], "continuations": ["x", "x"]})"
                             "\r\n" R"({"context": "", "continuations": "only"})");
  ASSERT_EQ(requests.size(), 3u);
  EXPECT_EQ(requests[0].task, "t");
  EXPECT_EQ(requests[0].id, 7);
  EXPECT_EQ(requests[0].gold, 1);
  EXPECT_EQ(requests[0].contextOf(1), "Who?");
  EXPECT_EQ(requests[1].contextOf(1), "b ");
  EXPECT_EQ(requests[1].task, "default");
  EXPECT_EQ(requests[1].gold, std::nullopt);
  EXPECT_EQ(requests[2].continuations, std::vector<std::string>{"only"});
  EXPECT_TRUE(requests[2].where.ends_with("r.jsonl:4"));
}

TEST(RequestsTest, BadLinesAreNamed) {
  const std::string good = R"({"context": "a", "continuations": ["b"]})"
                           "\n";
  EXPECT_TRUE(refusal(good + good + "{\"context\": ").starts_with("r.jsonl:3: expected a JSON object, but found a parse "
                                                                  "error"));
  EXPECT_EQ(refusal("[1]"), "r.jsonl:1: expected a JSON object, but got array");
  EXPECT_EQ(refusal("\n" R"({"context": "a"})"), "r.jsonl:2: expected the key 'continuations', but there is none");
  EXPECT_EQ(refusal(R"({"continuations": ["a"]})"), "r.jsonl:1: expected the key 'context', but there is none");
  EXPECT_EQ(refusal(R"({"context": 3, "continuations": ["a"]})"),
            "r.jsonl:1: expected text as 'context', but got number");
  EXPECT_EQ(refusal(R"({"context": "a", "continuations": []})"),
            "r.jsonl:1: expected at least one text as 'continuations', but the list is empty");
  EXPECT_EQ(refusal(R"({"context": "a", "continuations": ["b", ""]})"),
            "r.jsonl:1: expected text in every continuation, but number 1 is empty");
  EXPECT_EQ(refusal(R"({"context": ["a", "b"], "continuations": ["b", "c", "d"]})"),
            "r.jsonl:1: expected 1 context or one for each of the 3 continuations, but got 2");
  EXPECT_EQ(refusal(R"({"context": "a", "continuations": ["b", "c"], "gold": 2})"),
            "r.jsonl:1: expected as 'gold' an index from 0 to 1, but got 2");
  EXPECT_EQ(refusal(R"({"context": "a", "continuations": ["b", "c"], "gold": "1"})"),
            "r.jsonl:1: expected as 'gold' an index from 0 to 1, but got \"1\"");
  EXPECT_TRUE(refusal(R"({"context": "a", "continuations": ["b", "c"], "glod": 1})")
                  .starts_with("r.jsonl:1: unknown key 'glod'; did you mean 'gold'?"));
  EXPECT_TRUE(refusal("{\"context\": \"\xff\", \"continuations\": [\"b\"]}").starts_with("r.jsonl:1: expected"));
  EXPECT_TRUE(refusal("\n \n").ends_with("but found none"));
  EXPECT_NE(messageOf<RuntimeError>([] { readRequests("/nowhere.jsonl"); }).find("/nowhere.jsonl"), std::string::npos);
}

TEST(EncodeRequestTest, TheContinuationIsWhatTheContextLacks) {
  const EncodeOptions options{100, std::nullopt};
  ScoredSequence plain = encodeRequest(encodeLetters, "xy", "zz", options);
  EXPECT_EQ(plain.ids, (std::vector<int32_t>{1, 'x', 'y', 'z', 'z'}));
  EXPECT_EQ(plain.scored, 2);
  // The border falls into a token: the whole is encoded as one text.
  ScoredSequence merged = encodeRequest(encodeLetters, "xa", "bc", options);
  EXPECT_EQ(merged.ids, (std::vector<int32_t>{1, 'x', 2, 'c'}));
  EXPECT_EQ(merged.scored, 1);
  // Spaces at the context's end are predicted, as part of the continuation.
  EXPECT_EQ(encodeRequest(encodeLetters, "x  ", "z", options).scored, 3);
  EXPECT_EQ(encodeRequest(encodeLetters, "x\n", "z", options).scored, 1);
  EXPECT_EQ(encodeRequest(encodeLetters, "  ", "z", options).scored, 3);
  EXPECT_EQ(messageOf<RuntimeError>([&] { encodeRequest(encodeLetters, "xa", "b", options); }),
            "the continuation adds no token to its context");
}

TEST(EncodeRequestTest, AnEmptyContextNeedsABeginning) {
  ScoredSequence begun = encodeRequest(encodeLetters, "", "z", {100, std::nullopt});
  EXPECT_EQ(begun.ids, (std::vector<int32_t>{1, 'z'}));
  begun = encodeRequest(encodeBytes, "", "zy", {100, 256});
  EXPECT_EQ(begun.ids, (std::vector<int32_t>{256, 'z', 'y'}));
  EXPECT_EQ(begun.scored, 2);
  EXPECT_NE(messageOf<RuntimeError>([] {
              encodeRequest(encodeBytes, "", "z", {100, std::nullopt});
            }).find("the context has no token"),
            std::string::npos);
}

TEST(EncodeRequestTest, TheLeftIsCut) {
  bool cut = false;
  // Four tokens are fed, and the fifth is predicted.
  ScoredSequence sequence = encodeRequest(encodeBytes, "012345", "678", {4, std::nullopt}, &cut);
  EXPECT_TRUE(cut);
  EXPECT_EQ(sequence.ids, (std::vector<int32_t>{'4', '5', '6', '7', '8'}));
  EXPECT_EQ(sequence.scored, 3);
  encodeRequest(encodeBytes, "01", "678", {4, std::nullopt}, &cut);
  EXPECT_FALSE(cut);
  EXPECT_EQ(messageOf<RuntimeError>([] {
              encodeRequest(encodeBytes, "0", "12345", {4, std::nullopt});
            }),
            "the continuation has 5 tokens, but the model is fed at most 4; pass a larger --seq");
}

TEST(ScoreRequestsTest, SumsTokensAndGreedyFlags) {
  Model model;
  const char best = char(model.likeliest('a'));
  auto requests = requestsOf(R"({"context": "xa", "continuations": ["bcd", "q"]})");
  requests.push_back({"g", {}, {"za"}, {std::string(1, best)}, {}, "here"});
  auto scores = score(model, requests);
  EXPECT_NEAR(scores[0].continuations[0].logLikelihood, model.sum('a', "bcd"), 1e-12);
  EXPECT_NEAR(scores[0].continuations[1].logLikelihood, model.sum('a', "q"), 1e-12);
  EXPECT_EQ(scores[0].continuations[0].tokens, 3);
  EXPECT_FALSE(scores[0].continuations[0].greedy);
  EXPECT_EQ(scores[0].acc, std::nullopt) << "without gold, several continuations are not judged";
  EXPECT_TRUE(scores[1].continuations[0].greedy);
  EXPECT_EQ(scores[1].acc, true) << "a single continuation is right when it is greedy";
}

TEST(ScoreRequestsTest, AccuracyByTheSumAndByTheCharacter) {
  Model model; // After 'a', one byte is likelier than many; per character the longer text may win.
  for (double &w : model.parameter(0).as<double>())
    w = 0;
  model.parameter(0).as<double>()['a' * 272 + 'b'] = 1;
  // Sums: log p(b), and three times the uniform -log 272 from other bytes.
  auto requests = requestsOf(R"({"context": "a", "continuations": ["b", "ccc"], "gold": 0}
{"context": "a", "continuations": ["c", "bcc"], "gold": 1}
{"context": "a", "continuations": [" cc", "cccc"], "gold": 0})");
  auto scores = score(model, requests);
  EXPECT_EQ(scores[0].acc, true);
  EXPECT_EQ(scores[0].accNorm, true);
  EXPECT_EQ(scores[1].acc, false);
  EXPECT_EQ(scores[1].accNorm, true) << "b's bonus lifts the mean over three characters above c's alone";
  EXPECT_EQ(scores[2].acc, true);
  EXPECT_EQ(scores[2].accNorm, false) << "the leading space counts in the sum and not in the length";
}

TEST(ScoreRequestsTest, LengthsAreInCharactersNotBytes) {
  BigramModel<double> model(272); // Uniform: a sum is -n log 272.
  auto requests = requestsOf("{\"context\": \"a\", \"continuations\": [\" \xc3\xa9\xc3\xa9\", \" ccc\"], \"gold\": 1}");
  auto scores = scoreRequests(model, encodeBytes, requests, 4, {100, std::nullopt});
  // 5 bytes over 2 characters against 4 bytes over 3.
  EXPECT_EQ(scores[0].accNorm, true);
}

TEST(ScoreRequestsTest, BatchAndOrderChangeNothing) {
  Model model;
  std::vector<Request> requests;
  for (int i = 0; i < 17; ++i) {
    std::string context(1 + (i * 5) % 11, char('a' + i));
    requests.push_back({"t", {}, {context}, {std::string(1 + i % 4, 'x'), "yz" + context}, i % 2, "r"});
  }
  const auto all = score(model, requests, 1);
  for (int64_t B : {2, 3, 7, 100}) {
    const auto other = score(model, requests, B);
    for (size_t r = 0; r < requests.size(); ++r)
      for (size_t i = 0; i < 2; ++i)
        EXPECT_EQ(other[r].continuations[i].logLikelihood, all[r].continuations[i].logLikelihood) << B << " " << r;
  }
  std::vector<Request> reversed(requests.rbegin(), requests.rend());
  const auto back = score(model, reversed, 3);
  for (size_t r = 0; r < requests.size(); ++r)
    EXPECT_EQ(back[16 - r].continuations[1].logLikelihood, all[r].continuations[1].logLikelihood) << r;
}

TEST(ScoreRequestsTest, WhatCannotBeScoredIsNamed) {
  BigramModel<double> narrow(100);
  auto requests = requestsOf(R"({"context": "AB", "continuations": ["C", "Dz"]})");
  auto scores = [&](train::Model &model, int64_t maxTokens) {
    std::string message = messageOf<RuntimeError>(
        [&] { scoreRequests(model, encodeBytes, requests, 2, {maxTokens, std::nullopt}); });
    return message.substr(std::min(message.find("r.jsonl"), message.size()));
  };
  EXPECT_EQ(scores(narrow, 10), "r.jsonl:1: continuation 1: token 122 is not in the model's vocabulary of 100");
  EXPECT_TRUE(scores(narrow, 1).starts_with("r.jsonl:1: continuation 1: the continuation has 2 tokens"));
  Model broken;
  broken.parameter(0).as<double>()['B' * 272 + 3] = NAN;
  EXPECT_NE(messageOf<RuntimeError>([&] { score(broken, requests); }).find("not finite"), std::string::npos);
}

TEST(SummarizeTest, RatesByTask) {
  auto request = [](const std::string &task, std::optional<int64_t> gold) {
    return Request{task, {}, {"c"}, {"a", "b"}, gold, "r"};
  };
  std::vector<Request> requests{request("one", 0), request("two", 1), request("one", 1), request("one", 0),
                                request("three", std::nullopt)};
  std::vector<RequestScore> scores(5);
  for (size_t i = 0; i < 5; ++i)
    scores[i].continuations = {{-1.0 - double(i), 2, false, i == 0}, {-3.0, 1, false, false}};
  scores[0].acc = true, scores[0].accNorm = false;
  scores[1].acc = true, scores[1].accNorm = true;
  scores[2].acc = false, scores[2].accNorm = false;
  scores[3].acc = true, scores[3].accNorm = true;
  auto tasks = summarize(requests, scores);
  ASSERT_EQ(tasks.size(), 3u);
  EXPECT_EQ(tasks[0].task, "one");
  EXPECT_EQ(tasks[0].requests, 3);
  EXPECT_EQ(tasks[0].tokens, 9);
  EXPECT_EQ(tasks[0].cut, 1);
  EXPECT_NEAR(tasks[0].acc.mean(), 2.0 / 3, 1e-15);
  EXPECT_NEAR(*tasks[0].acc.standardError(), std::sqrt(2.0 / 9 / 2), 1e-15);
  EXPECT_NEAR(*tasks[0].perplexity(), std::exp((1.0 + 3.0 + 4.0) / 3), 1e-12);
  EXPECT_EQ(tasks[1].acc.standardError(), std::nullopt) << "one request has no spread";
  EXPECT_EQ(tasks[2].acc.count, 0);
  EXPECT_EQ(tasks[2].perplexity(), std::nullopt);
  EXPECT_FALSE(toJson(tasks[2]).contains("acc"));
}
