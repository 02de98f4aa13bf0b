//===- DocumentsTest.cpp - Packed documents equal separate runs -----------===//
// The oracle knows no resets: it runs the token form on each document alone.
#include "Chunked.h"
#include "EventPrograms.h"

#include <cmath>

using namespace tidegate;
using namespace tidegate::test;
using Tensors = std::vector<reference::Tensor>;

namespace {
constexpr double kTolerance = 1e-10, kGradientTolerance = 1e-8;

/// A stretch of tokens of one row that shares a state.
struct Document {
  int64_t row, begin, end;
};

/// Elements `begin..end` of row `row`: of a tensor B x T x ... or, for T of 0, of one B x ...
reference::Tensor sliced(const reference::Tensor &x, const Document &d, bool hasTime) {
  reference::Tensor part;
  part.shape = x.shape;
  part.shape[0] = 1;
  int64_t width = x.size() / x.shape[0], begin = d.row * width, count = width;
  if (hasTime) {
    width /= x.shape[1];
    begin += d.begin * width;
    count = (d.end - d.begin) * width;
    part.shape[1] = d.end - d.begin;
  }
  part.values.assign(x.values.begin() + begin, x.values.begin() + begin + count);
  return part;
}

/// Adds `part` to where `sliced` took it.
void addTo(reference::Tensor &x, const reference::Tensor &part, const Document &d, bool hasTime) {
  int64_t width = x.size() / x.shape[0];
  int64_t begin = d.row * width + (hasTime ? d.begin * (width / x.shape[1]) : 0);
  for (size_t i = 0; i < part.values.size(); ++i)
    x.values[begin + i] += part.values[i];
}

Tensors zerosLike(const Tensors &tensors) {
  Tensors zeros;
  for (const auto &t : tensors)
    zeros.push_back(reference::Tensor::zeros(t.shape));
  return zeros;
}

/// Values and gradients of documents run one by one, in the places of the packed ones.
struct Separate {
  Tensors results, gradients;
};

Separate runSeparately(const Case &plain, const std::vector<Document> &documents, const Restarts &restarts,
                       const Tensors &cotangents, const Tensors &packedResults) {
  Module m(plain.text);
  addGradient(m);
  Separate all{zerosLike(packedResults), zerosLike(plain.arguments)};
  const size_t numTokens = plain.arguments.size() - 1, numReads = plain.numReads;
  for (const Document &d : documents) {
    Tensors arguments;
    for (size_t i = 0; i < numTokens; ++i)
      arguments.push_back(sliced(plain.arguments[i], d, true));
    const int64_t tokens = packedResults[0].shape[1];
    bool restarted = restarts.flags[d.row * tokens + d.begin] != 0;
    arguments.push_back(sliced(plain.arguments.back(), d, false));
    if (restarted && !restarts.toInitial)
      arguments.back() = reference::Tensor::zeros(arguments.back().shape);
    Tensors results = m.run("f", arguments);
    bool isLast = d.end == tokens;
    for (size_t i = 0; i < numReads; ++i)
      addTo(all.results[i], results[i], d, true);
    if (isLast)
      addTo(all.results[numReads], results[numReads], d, false);
    for (size_t i = 0; i < numReads; ++i)
      arguments.push_back(sliced(cotangents[i], d, true));
    arguments.push_back(sliced(cotangents[numReads], d, false));
    if (!isLast)
      arguments.back() = reference::Tensor::zeros(arguments.back().shape);
    Tensors gradients = m.run("f_grad", arguments);
    for (size_t i = 0; i < numTokens; ++i)
      addTo(all.gradients[i], gradients[i], d, true);
    if (!restarted || restarts.toInitial)
      addTo(all.gradients[numTokens], gradients[numTokens], d, false);
  }
  return all;
}

/// Rows of documents with these lengths; each row gets a rotation of them.
std::vector<Document> documentsOf(const std::vector<int64_t> &lengths, int64_t rows) {
  std::vector<Document> documents;
  for (int64_t row = 0; row < rows; ++row)
    for (size_t i = 0, at = 0; i < lengths.size(); ++i) {
      int64_t length = lengths[(i + row) % lengths.size()];
      documents.push_back({row, int64_t(at), int64_t(at) + length});
      at += length;
    }
  return documents;
}

struct Trial {
  std::vector<Event> events;
  Sizes sizes; ///< `tokens` follows from the lengths.
  std::vector<int64_t> lengths;
  std::vector<double> gates;
  bool toInitial = false, startsAnew = true;
  int64_t chunk = 16;
};

void expectSeparate(Trial trial, unsigned seed, const std::string &what) {
  SCOPED_TRACE(what + ", seed " + std::to_string(seed));
  trial.sizes.tokens = 0;
  for (int64_t n : trial.lengths)
    trial.sizes.tokens += n;
  auto documents = documentsOf(trial.lengths, trial.sizes.batch);
  Restarts restarts{std::vector<double>(trial.sizes.batch * trial.sizes.tokens), trial.toInitial};
  for (const Document &d : documents)
    restarts.flags[d.row * trial.sizes.tokens + d.begin] = d.begin > 0 || trial.startsAnew;
  if (llvm::all_of(restarts.flags, [](double f) { return f == 0; }))
    return;
  std::mt19937 random(seed), again(seed), other(seed + 1);
  Case packed = makeCase(trial.events, trial.sizes, random, gatesFrom(trial.gates, random), restarts);
  Case plain = makeCase(trial.events, trial.sizes, again, gatesFrom(trial.gates, again));

  Module token(packed.text), chunked(packed.text), forHalf(packed.text);
  Tensors cotangents, results = token.run("f", packed.arguments);
  for (const auto &result : results)
    cotangents.push_back(randomTensor(result.shape, other));
  Separate want = runSeparately(plain, documents, restarts, cotangents, results);
  toChunk(chunked, trial.chunk);
  toChunk(forHalf, trial.chunk, /*halfProducts=*/true);
  for (Module *m : {&token, &chunked, &forHalf}) {
    SCOPED_TRACE(m == &token ? "token form" : m == &chunked ? "chunk form" : "chunk form for products that round");
    addGradient(*m);
    Tensors got = m->run("f", packed.arguments), arguments = packed.arguments;
    for (size_t i = 0; i < want.results.size(); ++i)
      EXPECT_LE(relativeError(got[i], want.results[i]), kTolerance) << "result " << i << "\n" << packed.text;
    arguments.insert(arguments.end(), cotangents.begin(), cotangents.end());
    Tensors gradients = m->run("f_grad", arguments);
    EXPECT_EQ(largest(gradients.end()[-2]), 0) << "of the flags";
    gradients.erase(gradients.end() - 2);
    double most = 1e-290; // all may be zero
    for (const auto &gradient : want.gradients)
      most = std::max(most, largest(gradient));
    for (size_t i = 0; i < want.gradients.size(); ++i)
      EXPECT_LE(relativeError(gradients[i], want.gradients[i], 1e-4 * most), kGradientTolerance)
          << "gradient " << i << "\n" << packed.text;
  }
}
} // namespace

static const std::vector<std::vector<double>> kGates = {
    {0}, {-1e-3}, {-5}, {-50}, {-1000}, {0, -1e-3, -0.3, -5, -50, -1000}};

// Documents of one token, several in a chunk, ending in a chunk, at its end, and longer than two chunks.
static const std::vector<std::vector<int64_t>> kLengths = {
    {1, 1, 1}, {5, 1, 10, 16, 3}, {16, 16, 2}, {7, 40}, {33, 1, 15}, {20},
};

TEST(DocumentsTest, KnownRecurrences) {
  const std::vector<std::pair<std::string, std::vector<Event>>> programs = {
      {"gated linear attention", {{'s'}, {'a'}, {'r'}}},
      {"gated delta rule", {{'c'}, {'a', true, true}, {'r'}}},
      {"stale read", {{'s'}, {'a', false, true, true}, {'a'}, {'r'}}},
      {"read before the update", {{'r'}, {'s'}, {'a'}}},
      {"two adds with a read between", {{'s'}, {'a', true, true}, {'r'}, {'a', true, true}, {'r'}}},
      {"no decay", {{'a', true, true}, {'r'}}},
  };
  unsigned seed = 1;
  for (const auto &[name, events] : programs)
    for (const auto &lengths : kLengths) {
      Trial trial{events, {2, 0, 2, 8, 6}, lengths, kGates[seed % kGates.size()]};
      trial.toInitial = seed % 2;
      trial.startsAnew = seed % 3;
      expectSeparate(trial, ++seed, name);
    }
}

TEST(DocumentsTest, RandomPrograms) {
  for (unsigned seed = 100; seed < 150; ++seed) {
    std::mt19937 random(seed);
    Trial trial{randomEvents(random), {1 + int64_t(random() % 2), 0, 1 + int64_t(random() % 2)}, {}, {}};
    const int64_t widths[] = {1, 5, 8, 16};
    trial.sizes.keys = widths[random() % 4], trial.sizes.values = widths[random() % 4];
    for (unsigned n = 1 + random() % 5; n > 0; --n)
      trial.lengths.push_back(1 + random() % (random() % 3 ? 12 : 40));
    trial.gates = kGates[seed % kGates.size()];
    trial.toInitial = random() % 2;
    trial.startsAnew = random() % 3;
    trial.chunk = random() % 4 ? 16 : 5;
    expectSeparate(trial, seed, "random program");
  }
}

// What a document leaves behind must not reach the next one, however large.
TEST(DocumentsTest, AnotherDocumentsInfinitiesStayBehind) {
  const char *const text = R"(
    func.func @f(%k: tensor<?x?x1x2xf64>, %f: tensor<?x?x1xf64>) -> tensor<?x?x1x2xf64> {
      %o, %s = rec.scan chunk 1 (%k, %f : tensor<?x?x1x2xf64>, tensor<?x?x1xf64>) kinds [0, 0] out_kinds [0] states 1 {
      ^bb0(%kt: tensor<2xf64>, %ft: tensor<f64>, %S: tensor<2xf64>):
        %R = rec.reset %S, %ft : tensor<2xf64>, tensor<f64>
        %next = nn.add %R, %kt : tensor<2xf64>, tensor<2xf64>
        rec.yield %next, %next : tensor<2xf64>, tensor<2xf64>
      } -> tensor<?x?x1x2xf64>, tensor<?x1x2xf64>
      return %o : tensor<?x?x1x2xf64>
    })";
  Module m(text);
  auto r = m.run("f", {numbers({1, 3, 1, 2}, {INFINITY, NAN, 3, 4, 5, 6}), numbers({1, 3, 1}, {1, 1, 0})});
  ASSERT_EQ(r.size(), 1u);
  for (size_t i = 2; i < 6; ++i)
    EXPECT_EQ(r[0].values[i], (std::vector<double>{0, 0, 3, 4, 8, 10})[i]);
}
