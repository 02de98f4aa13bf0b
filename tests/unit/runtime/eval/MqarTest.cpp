//===- MqarTest.cpp ---------------------------------------------*- C++ -*-===//
// The rules of an example, its distribution, and the accuracy.
//===----------------------------------------------------------------------===//
#include "runtime/core/Error.h"
#include "runtime/eval/MqarData.h"
#include "runtime/eval/MqarScore.h"
#include "tests/unit/runtime/BigramModel.h"
#include "tests/unit/runtime/TestFiles.h"

#include <gtest/gtest.h>
#include <map>

using namespace tidegate;
using namespace tidegate::eval;
using namespace tidegate::test;
using runtime::RuntimeError;

namespace {

struct Example {
  std::vector<int32_t> ids, labels;

  Example(const MqarGenerator &generator, uint64_t index)
      : ids(generator.task().T, -7), labels(generator.task().T, -7) {
    generator.example(index, ids, labels);
  }
};

/// Slots in use, from 0.
std::vector<int64_t> slotsOf(const Example &example, int64_t pairs) {
  std::vector<int64_t> slots;
  for (size_t i = 0; i < example.labels.size(); ++i)
    if (example.labels[i] != train::kIgnoredLabel)
      slots.push_back((int64_t(i) - 2 * pairs) / 2);
  return slots;
}

} // namespace

TEST(MqarTest, EveryExampleKeepsTheRules) {
  for (MqarTask task : {MqarTask{8192, 4, 64}, MqarTask{8192, 256, 1024}, MqarTask{65, 16, 64}, MqarTask{64, 1, 4},
                        MqarTask{129, 32, 128, 1.0}}) {
    MqarGenerator generator(task, 1, "test");
    for (uint64_t index = 0; index < 50; ++index) {
      Example example(generator, index);
      std::map<int32_t, int32_t> values;
      std::set<int32_t> distinctValues;
      for (int64_t i = 0; i < task.pairs; ++i) {
        const int32_t key = example.ids[2 * i], value = example.ids[2 * i + 1];
        EXPECT_GE(key, 1);
        EXPECT_LT(key, task.vocab / 2);
        EXPECT_GE(value, task.vocab / 2);
        EXPECT_LT(value, task.vocab);
        EXPECT_TRUE(values.emplace(key, value).second) << "a key twice";
        EXPECT_TRUE(distinctValues.insert(value).second) << "a value twice";
        EXPECT_EQ(example.labels[2 * i], train::kIgnoredLabel);
        EXPECT_EQ(example.labels[2 * i + 1], train::kIgnoredLabel);
      }
      std::set<int32_t> asked;
      for (int64_t i = 2 * task.pairs; i < task.T; ++i)
        if (example.labels[i] == train::kIgnoredLabel) {
          EXPECT_EQ(example.ids[i], 0);
        } else {
          EXPECT_EQ(i % 2, 0) << "a query stands at the first position of its slot";
          EXPECT_EQ(example.labels[i], values.at(example.ids[i]));
          EXPECT_TRUE(asked.insert(example.ids[i]).second) << "a key asked twice";
        }
      EXPECT_EQ(int64_t(asked.size()), task.pairs);
    }
  }
}

TEST(MqarTest, ExamplesAreFunctionsOfSeedStreamAndIndex) {
  const MqarTask task{256, 8, 64};
  const MqarGenerator generator(task, 1, "train");
  const Example first(generator, 3);
  EXPECT_EQ(first.ids, Example(MqarGenerator(task, 1, "train"), 3).ids);
  EXPECT_NE(first.ids, Example(generator, 4).ids);
  EXPECT_NE(first.ids, Example(MqarGenerator(task, 2, "train"), 3).ids);
  EXPECT_NE(first.ids, Example(MqarGenerator(task, 1, "test"), 3).ids);
}

TEST(MqarTest, RandomFillReplacesZerosOnly) {
  const MqarTask zeros{256, 4, 64}, random{256, 4, 64, 0.01, true};
  const MqarGenerator plain(zeros, 1, "test"), filled(random, 1, "test");
  int64_t positions = 0, sum = 0, kept = 0;
  for (uint64_t index = 0; index < 200; ++index) {
    const Example a(plain, index), b(filled, index);
    EXPECT_EQ(a.labels, b.labels);
    for (size_t i = 0; i < a.ids.size(); ++i)
      if (a.ids[i])
        EXPECT_EQ(a.ids[i], b.ids[i]);
      else
        ++positions, sum += b.ids[i], kept += b.ids[i] == 0;
  }
  // Uniform on 0 .. 255: mean 127.5, deviation 73.9, so 5 sigma are 3.6 for over 10,000 draws.
  ASSERT_GT(positions, 10000);
  EXPECT_NEAR(double(sum) / double(positions), 127.5, 3.6);
  EXPECT_NEAR(double(kept) / double(positions), 1.0 / 256, 0.0031);
}

TEST(MqarTest, OneQueryFallsOnSlotsByTheirWeights) {
  // One pair: the slot's distribution is the weights themselves.
  for (double power : {0.01, 0.5, 1.0, 2.0}) {
    const MqarTask task{64, 1, 22, power}; // 10 slots.
    const MqarGenerator generator(task, 9, "test");
    const int n = 20000;
    std::vector<int> count(10);
    for (int index = 0; index < n; ++index)
      ++count[slotsOf(Example(generator, index), 1).at(0)];
    double total = 0;
    for (int x = 1; x <= 10; ++x)
      total += std::pow(x, power - 1);
    for (int x = 1; x <= 10; ++x) {
      const double p = std::pow(x, power - 1) / total;
      EXPECT_NEAR(double(count[x - 1]) / n, p, 5 * std::sqrt(p * (1 - p) / n)) << power << " " << x;
    }
  }
}

TEST(MqarTest, TheFirstKeyDrawsFirstAndTheSecondFromTheRest) {
  const MqarTask task{64, 2, 10, 0.01}; // 3 slots, 2 queries.
  const MqarGenerator generator(task, 4, "test");
  const double w[3] = {1, std::pow(2, -0.99), std::pow(3, -0.99)}, all = w[0] + w[1] + w[2];
  const int n = 20000;
  std::map<std::pair<int64_t, int64_t>, int> count;
  for (int index = 0; index < n; ++index) {
    const Example example(generator, index);
    auto slotOf = [&](int32_t key) {
      return (std::find(example.ids.begin() + 4, example.ids.end(), key) - example.ids.begin() - 4) / 2;
    };
    ++count[{slotOf(example.ids[0]), slotOf(example.ids[2])}];
  }
  for (int a = 0; a < 3; ++a)
    for (int b = 0; b < 3; ++b) {
      const double p = a == b ? 0 : w[a] / all * w[b] / (all - w[a]);
      EXPECT_NEAR(double(count[{a, b}]) / n, p, 5 * std::sqrt(p * (1 - p) / n)) << a << " " << b;
    }
}

TEST(MqarTest, KeysAndValuesAreUniform) {
  const MqarTask task{17, 3, 12}; // Keys 1 .. 7, values 8 .. 16.
  const MqarGenerator generator(task, 2, "test");
  const int n = 9000;
  std::map<int32_t, int> keys, values;
  for (int index = 0; index < n; ++index) {
    const Example example(generator, index);
    ++keys[example.ids[2]], ++values[example.ids[3]];
  }
  EXPECT_EQ(keys.size(), 7u);
  EXPECT_EQ(values.size(), 9u);
  for (auto [key, count] : keys)
    EXPECT_NEAR(double(count) / n, 1.0 / 7, 5 * std::sqrt(6.0 / 49 / n)) << key;
  for (auto [value, count] : values)
    EXPECT_NEAR(double(count) / n, 1.0 / 9, 5 * std::sqrt(8.0 / 81 / n)) << value;
}

TEST(MqarTest, SizesThatDoNotFit) {
  auto message = [](MqarTask task) { return messageOf<RuntimeError>([&] { task.validate(); }); };
  EXPECT_EQ(message({8192, 4, 64}), "");
  EXPECT_EQ(message({8192, 0, 64}), "associative recall needs at least 1 pair, but got 0");
  EXPECT_EQ(message({8192, 4, 63}), "associative recall needs an even number of tokens, but got 63");
  EXPECT_EQ(message({8192, 17, 64}), "associative recall needs at least 4 tokens a pair, 68 for 17, but got 64");
  EXPECT_EQ(message({64, 4, 64}),
            "associative recall needs a vocabulary of more ids than the 64 tokens of an example, but got 64");
  EXPECT_NE(message({8192, 4, 64, 0}), "");
}

TEST(MqarScoreTest, CountsRightQueries) {
  // A model that answers every key k with k + half: right exactly for the pairs that chance made so.
  const MqarTask task{66, 16, 64};
  const MqarGenerator generator(task, 3, "test");
  BigramModel<double> model(70);
  for (int32_t key = 1; key < 33; ++key)
    model.parameter(0).as<double>()[key * 70 + key + 33] = 9;
  double sum = 0, squares = 0;
  for (uint64_t index = 0; index < 41; ++index) {
    const Example example(generator, index);
    double right = 0;
    for (size_t i = 0; i < example.ids.size(); ++i)
      right += example.labels[i] == example.ids[i] + 33;
    sum += right / 16;
    squares += right / 16 * right / 16;
  }
  ASSERT_GT(sum, 0);
  const double mean = sum / 41, error = std::sqrt((squares / 41 - mean * mean) / 40);
  for (int64_t B : {1, 7, 64}) {
    const MqarScore score = scoreMqar(model, generator, 41, B);
    EXPECT_EQ(score.examples, 41);
    EXPECT_NEAR(score.accuracy, mean, 1e-12);
    EXPECT_NEAR(score.standardError, error, 1e-12);
    // p(right) = e^9 / (e^9 + 69), p(any other) = 1 / (e^9 + 69).
    EXPECT_NEAR(score.nats, std::log(std::exp(9.0) + 69) - 9 * mean, 1e-12);
  }
  BigramModel<double> narrow(65);
  EXPECT_EQ(messageOf<RuntimeError>([&] { scoreMqar(narrow, generator, 4, 2); }),
            "the task uses 66 ids, but the model's vocabulary is 65");
}

TEST(MqarDataTest, RowsAreExamplesOfTheTasksAndBatchesRepeat) {
  const MqarTask four{256, 4, 64}, sixteen{256, 16, 64};
  const MqarData data({four, sixteen});
  const int64_t B = 64, T = 64;
  std::vector<int32_t> ids(B * T), labels(B * T), again(B * T), other(B * T), ignored(B * T);
  std::map<int64_t, int> rowsOfPairs;
  for (int64_t step : {1, 2, 3}) {
    data.batch(7, step, B, T, ids, labels);
    for (int64_t b = 0; b < B; ++b)
      ++rowsOfPairs[T - std::count(labels.begin() + b * T, labels.begin() + (b + 1) * T, train::kIgnoredLabel)];
  }
  ASSERT_EQ(rowsOfPairs.size(), 2u);
  EXPECT_NEAR(rowsOfPairs[4], 96, 35) << "half of 192, within 5 deviations";
  data.batch(7, 3, B, T, again, ignored);
  EXPECT_EQ(ids, again);
  EXPECT_EQ(labels, ignored);
  data.batch(7, 4, B, T, other, ignored);
  EXPECT_NE(ids, other);
  // No row twice, in a step or from step to step.
  std::set<std::vector<int32_t>> rows;
  for (const auto &all : {ids, other})
    for (int64_t b = 0; b < B; ++b)
      rows.insert(std::vector<int32_t>(all.begin() + b * T, all.begin() + (b + 1) * T));
  EXPECT_EQ(rows.size(), size_t(2 * B));
}

TEST(MqarDataTest, WhatDoesNotFit) {
  EXPECT_NE(messageOf<RuntimeError>([] { MqarData({}); }), "");
  EXPECT_EQ(messageOf<RuntimeError>([] { MqarData({{256, 4, 64}, {256, 32, 128}}); }),
            "expected examples of one length and vocabulary to train on, but got 64 and 128 tokens, 256 and 256 ids");
  const MqarData data({{256, 4, 64}});
  EXPECT_EQ(messageOf<RuntimeError>([&] { data.checkWindow(32); }),
            "expected sequences of the task's 64 tokens, but got 32");
}
