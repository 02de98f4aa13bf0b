//===- Ladder.cpp - The rungs of self-verification --------------*- C++ -*-===//
// Gradients are checked along random directions: per weight for a sample of
// the weights, and once along a direction in all of them, which a wrong value
// anywhere would show.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/verify/Ladder.h"

#include "runtime/core/Random.h"
#include "runtime/train/Init.h"

#include <algorithm>
#include <cmath>
#include <set>

using namespace tidegate;
using namespace tidegate::tool;
using runtime::HostSpan;
using runtime::HostTensor;
using runtime::RandomStream;
using train::Model;

namespace {

constexpr double kFormBound = 1e-10;       // Two orders of the same sums in fp64.
constexpr double kFormGradientBound = 1e-9;
constexpr double kDifferenceBound = 1e-6;  // Fourth-order differences in fp64.
constexpr double kSingleBound = 1e-4;      // f32 logits against f64.
constexpr double kSingleGradientBound = 2e-3;
constexpr double kSingleDecodingBound = 1e-5;
constexpr HalfBound kHalfBound{2e-2};      // bf16 logits against f64: what roundings of every value come to.
constexpr HalfBound kHalfGradientBound{5e-2};
constexpr HalfBound kHalfVectorBound{1e-1}; // Biases, rates, norms: long sums that cancel.
constexpr double kSpread = 0.05;           // Added to every weight, so that none is trivially 0 or 1.
constexpr double kStep = 1e-3;             // Of a finite difference, in units of kSpread.
constexpr size_t kMaxDirections = 24;      // Weights checked one by one.
constexpr double kGradientFloor = 1e-3;    // Of the largest gradient: below it, rounding decides.

struct Batch {
  int64_t B, T;
  std::vector<int32_t> ids, labels, positions;

  /// Tokens begin .. end of row b.
  Batch(const Batch &from, int64_t b, int64_t begin, int64_t end)
      : B(1), T(end - begin), ids(from.ids.begin() + b * from.T + begin, from.ids.begin() + b * from.T + end),
        labels(from.labels.begin() + b * from.T + begin, from.labels.begin() + b * from.T + end) {}

  train::TokenBatch tokens() const { return {ids, labels, B, T, positions}; }

  Batch(int64_t B, int64_t T, int64_t vocab, uint64_t seed) : B(B), T(T), ids(B * T), labels(B * T) {
    RandomStream stream(seed, "verify batch");
    for (int64_t i = 0; i < B * T; ++i) {
      ids[i] = static_cast<int32_t>(stream.below(vocab, 2 * i));
      labels[i] = static_cast<int32_t>(stream.below(vocab, 2 * i + 1));
    }
  }
};

/// Standard normal draws, the same for a tensor's name in any precision.
double draw(const RandomStream &stream, int64_t i) { return stream.normalPair(i / 2)[i % 2]; }

void randomWeights(Model &model, uint64_t seed) {
  train::initialiseParameters(model, seed);
  for (size_t p = 0; p < model.parameters().size(); ++p) {
    RandomStream stream(seed, "spread " + model.parameters()[p].name);
    HostSpan weight = model.parameter(p);
    for (int64_t i = 0; i < weight.elements; ++i)
      weight.set(i, weight.get(i) + kSpread * draw(stream, i));
  }
}

double norm(HostSpan values) {
  double square = 0;
  for (int64_t i = 0; i < values.elements; ++i)
    square += values.get(i) * values.get(i);
  return std::sqrt(square);
}

double largest(HostSpan values) {
  double result = 0;
  for (int64_t i = 0; i < values.elements; ++i)
    result = std::max(result, std::abs(values.get(i)));
  return result;
}

std::string lengthText(int64_t T) { return "T = " + std::to_string(T); }

/// Every gradient of `a` against `b`'s, both computed for the same batch.
void compareGradients(Model &a, Model &b, const Batch &batch, const std::string &check, double bound,
                      VerifyReport &report) {
  a.lossAndGradients(batch.tokens());
  b.lossAndGradients(batch.tokens());
  double most = 0;
  for (size_t p = 0; p < b.parameters().size(); ++p)
    most = std::max(most, largest(b.gradient(p)));
  for (size_t p = 0; p < b.parameters().size(); ++p)
    report.add(check, b.parameters()[p].name, relativeError(a.gradient(p), b.gradient(p), kGradientFloor * most),
               bound);
}

/// Loss along a direction in the weights `which`: from derivatives and from differences.
class DirectionalCheck {
public:
  DirectionalCheck(Model &model, const Batch &batch, uint64_t seed) : model(model), batch(batch), seed(seed) {
    model.lossAndGradients(batch.tokens());
    for (size_t p = 0; p < model.parameters().size(); ++p) {
      norms.push_back(norm(model.gradient(p)));
      whole = std::hypot(whole, norms.back());
    }
  }

  /// |difference - derivative| over the gradient's norm, which the derivative
  /// along a standard normal direction has for its typical size. Where steps are
  /// too large for the curvature half of them are not; a wrong derivative is wrong for both.
  double error(const std::vector<size_t> &which) {
    const double first = errorOf(which, kSpread * kStep);
    return first <= kDifferenceBound ? first : std::min(first, errorOf(which, kSpread * kStep / 2));
  }

private:
  double errorOf(const std::vector<size_t> &which, double h) {
    double derivative = 0, scale = 0;
    std::vector<std::vector<double>> base(which.size());
    for (size_t k = 0; k < which.size(); ++k) {
      HostSpan gradient = gradients(which[k]), weight = model.parameter(which[k]);
      RandomStream stream = direction(which[k]);
      base[k].resize(weight.elements);
      for (int64_t i = 0; i < weight.elements; ++i) {
        base[k][i] = weight.get(i);
        derivative += gradient.get(i) * draw(stream, i);
      }
      scale = std::hypot(scale, norms[which[k]]);
    }
    auto lossAt = [&](double distance) {
      for (size_t k = 0; k < which.size(); ++k) {
        HostSpan weight = model.parameter(which[k]);
        RandomStream stream = direction(which[k]);
        for (int64_t i = 0; i < weight.elements; ++i)
          weight.set(i, base[k][i] + distance * draw(stream, i));
      }
      return model.evalLoss(batch.tokens()).loss;
    };
    const double difference = (8 * (lossAt(h) - lossAt(-h)) - (lossAt(2 * h) - lossAt(-2 * h))) / (12 * h);
    for (size_t k = 0; k < which.size(); ++k)
      for (size_t i = 0; i < base[k].size(); ++i)
        model.parameter(which[k]).set(static_cast<int64_t>(i), base[k][i]);
    return std::abs(difference - derivative) / std::max(scale, kGradientFloor * whole);
  }

  HostSpan gradients(size_t p) { return model.gradient(p); }
  RandomStream direction(size_t p) const { return {seed, "direction " + model.parameters()[p].name}; }

  Model &model;
  const Batch &batch;
  uint64_t seed;
  std::vector<double> norms;
  double whole = 0;
};

void checkDifferences(Model &model, const Batch &batch, uint64_t seed, const std::string &check,
                      VerifyReport &report) {
  DirectionalCheck directions(model, batch, seed);
  const size_t count = model.parameters().size();
  const size_t stride = (count + kMaxDirections - 1) / kMaxDirections;
  std::vector<size_t> all;
  for (size_t p = 0; p < count; ++p) {
    all.push_back(p);
    if (p % stride == 0)
      report.add(check, model.parameters()[p].name, directions.error({p}), kDifferenceBound);
  }
  report.add(check, "all weights", directions.error(all), kDifferenceBound);
}

/// The logits of a model that is fed a prefix at once and then token by token, and those of all tokens at once that
/// they should be. A row for each call and batch row.
struct Decoded {
  std::vector<double> have, want;

  static HostSpan span(std::vector<double> &rows) { return {runtime::Dtype::F64, rows.data(), int64_t(rows.size())}; }
};
void decode(Model &model, const Batch &batch, HostTensor &full, int64_t prefix, Decoded &to) {
  const int64_t vocab = model.vocab();
  auto decoder = model.decoder(batch.B);
  for (int64_t fed = 0; fed < batch.T;) {
    const int64_t T = fed == 0 ? prefix : 1;
    std::vector<int32_t> ids(batch.B * T);
    for (int64_t b = 0; b < batch.B; ++b)
      std::copy_n(batch.ids.begin() + b * batch.T + fed, T, ids.begin() + b * T);
    HostTensor row = decoder->feed(ids, T);
    fed += T;
    for (int64_t b = 0; b < batch.B; ++b)
      for (int64_t v = 0; v < vocab; ++v) {
        to.have.push_back(row.view().get(b * vocab + v));
        to.want.push_back(full.view().get((b * batch.T + fed - 1) * vocab + v));
      }
  }
}

std::set<int64_t> prefixesOf(const Batch &batch) {
  return {1, std::max<int64_t>(1, batch.T / 2), std::max<int64_t>(1, batch.T - 1)};
}

void checkDecoding(Model &model, const Batch &batch, const std::string &check, double bound, VerifyReport &report) {
  HostTensor full = model.logits(batch.ids, batch.B, batch.T);
  for (int64_t prefix : prefixesOf(batch)) {
    Decoded decoded;
    decode(model, batch, full, prefix, decoded);
    report.add(check, lengthText(batch.T) + " from " + std::to_string(prefix),
               relativeError(Decoded::span(decoded.have), Decoded::span(decoded.want), largest(full.view())), bound);
  }
}

/// Lengths of documents that fill T tokens: of one token, shorter than a
/// convolution, ending inside a chunk of 64 and at its end, and longer than one.
std::vector<int64_t> documentLengths(int64_t T) {
  std::vector<int64_t> lengths;
  for (int64_t length : {1, 2, 13, 48, 3, 66})
    if (T > 0) {
      lengths.push_back(std::min<int64_t>(length, T));
      T -= lengths.back();
    }
  if (T > 0)
    lengths.push_back(T);
  return lengths;
}

/// A document in a row of a batch.
struct Document {
  int64_t b, begin, end;
};

/// Documents that fill the rows of a batch, odd rows from the back; gives it their positions.
std::vector<Document> documentsOf(Batch &batch) {
  std::vector<Document> documents;
  for (int64_t b = 0; b < batch.B; ++b) {
    std::vector<int64_t> lengths = documentLengths(batch.T);
    if (b % 2)
      std::reverse(lengths.begin(), lengths.end());
    int64_t begin = 0;
    for (int64_t length : lengths) {
      documents.push_back({b, begin, begin + length});
      for (int64_t t = 0; t < length; ++t)
        batch.positions.push_back(static_cast<int32_t>(t));
      begin += length;
    }
  }
  return documents;
}

/// Rows of several documents in one go against each document alone.
void checkDocuments(Model &packed, Model &alone, Batch batch, VerifyReport &report) {
  const std::vector<Document> documents = documentsOf(batch);
  const int64_t vocab = alone.vocab();
  HostTensor logits = packed.logits(batch.ids, batch.B, batch.T, batch.positions);
  const train::LossResult loss = packed.lossAndGradients(batch.tokens());
  std::vector<std::vector<double>> gradients;
  for (size_t p = 0; p < alone.parameters().size(); ++p)
    gradients.emplace_back(alone.parameters()[p].elements());
  double separateLoss = 0;
  for (const auto &[b, begin, end] : documents) {
    const Batch document(batch, b, begin, end);
    HostTensor expected = alone.logits(document.ids, 1, document.T);
    const HostSpan all = logits.view();
    HostSpan part{all.dtype, static_cast<std::byte *>(all.data) + (b * batch.T + begin) * vocab * dtypeSize(all.dtype),
                  document.T * vocab};
    report.add("packed documents = separate runs", "row " + std::to_string(b) + ", tokens " + std::to_string(begin) +
                                                       " to " + std::to_string(end - 1),
               relativeError(part, expected.view()), kFormBound);
    const train::LossResult result = alone.lossAndGradients(document.tokens());
    const double share = double(result.count) / double(loss.count);
    separateLoss += share * result.loss;
    for (size_t p = 0; p < gradients.size(); ++p)
      for (int64_t i = 0; i < int64_t(gradients[p].size()); ++i)
        gradients[p][i] += share * alone.gradient(p).get(i);
  }
  report.add("packed documents = separate runs", "loss", relativeError(loss.loss, separateLoss), kFormBound);
  double most = 0;
  for (std::vector<double> &gradient : gradients)
    for (double x : gradient)
      most = std::max(most, std::abs(x));
  for (size_t p = 0; p < gradients.size(); ++p) {
    HostSpan expected{runtime::Dtype::F64, gradients[p].data(), int64_t(gradients[p].size())};
    report.add("gradients, packed = separate", alone.parameters()[p].name,
               relativeError(packed.gradient(p), expected, kGradientFloor * most), kFormGradientBound);
  }
}

/// The documents of the first row one after the other, each in two pieces where it has two tokens, against each alone.
void checkDecodingBehindReset(Model &packed, Model &alone, Batch batch, const std::string &check, double bound,
                              VerifyReport &report) {
  const int64_t vocab = alone.vocab();
  const std::vector<Document> documents = documentsOf(batch);
  auto decoder = packed.decoder(1);
  for (const auto &[b, begin, end] : documents) {
    if (b > 0)
      break;
    const Batch document(batch, b, begin, end);
    const int64_t head = (document.T + 1) / 2;
    auto feed = [&](int64_t from, int64_t to) {
      auto part = [&, begin = begin](const std::vector<int32_t> &all) {
        return std::span(all).subspan(begin + from, to - from);
      };
      return decoder->feed(part(batch.ids), to - from, part(batch.positions));
    };
    HostTensor last = feed(0, head);
    if (head < document.T)
      last = feed(head, document.T);
    HostTensor full = alone.logits(document.ids, 1, document.T);
    const HostSpan all = full.view();
    HostSpan expected{all.dtype, static_cast<std::byte *>(all.data) + (document.T - 1) * vocab * dtypeSize(all.dtype),
                      vocab};
    report.add(check, "tokens " + std::to_string(begin) + " to " + std::to_string(end - 1),
               relativeError(last.view(), expected), bound);
  }
}

/// Makes every weight one that bfloat16 holds.
void roundWeights(Model &model) {
  for (size_t p = 0; p < model.parameters().size(); ++p) {
    HostSpan weight = model.parameter(p);
    HostTensor exact(runtime::Dtype::F64, {weight.elements});
    for (int64_t i = 0; i < weight.elements; ++i)
      exact.view().set(i, weight.get(i));
    const HostTensor held = exact.to(runtime::Dtype::BF16).to(runtime::Dtype::F64);
    for (int64_t i = 0; i < weight.elements; ++i)
      weight.set(i, held.as<double>()[i]);
  }
}

/// Moves a weight to a neighbour of its in bfloat16, or leaves it; the same for a tensor's name in any precision.
void nudgeWeights(Model &model, uint64_t seed) {
  constexpr double kLeast = 1.0 / 256; // The least distance of neighbours in bfloat16, as a share of a number.
  for (size_t p = 0; p < model.parameters().size(); ++p) {
    RandomStream stream(seed, "nudge " + model.parameters()[p].name);
    HostSpan weight = model.parameter(p);
    for (int64_t i = 0; i < weight.elements; ++i)
      weight.set(i, weight.get(i) * (1 + kLeast * (double(stream.below(3, i)) - 1)));
  }
  roundWeights(model);
}

/// A copy of the weights of a model in f64.
std::vector<HostTensor> weightsOf(Model &model) {
  std::vector<HostTensor> copies;
  for (size_t p = 0; p < model.parameters().size(); ++p)
    copies.push_back(HostTensor::of<double>(model.parameters()[p].shape, model.parameter(p).as<double>()));
  return copies;
}

/// Of a model against f64 at the same weights: of the logits, and of each weight's gradient by its rows.
std::vector<RmsErrors> errorsOf(Model &model, Model &wide, const Batch &batch, const std::vector<double> &floors) {
  HostTensor have = model.logits(batch.ids, batch.B, batch.T), want = wide.logits(batch.ids, batch.B, batch.T);
  std::vector<RmsErrors> errors{rmsErrors(have.view(), want.view(), wide.vocab())};
  model.lossAndGradients(batch.tokens());
  wide.lossAndGradients(batch.tokens());
  for (size_t p = 0; p < floors.size(); ++p)
    errors.push_back(rmsErrors(model.gradient(p), wide.gradient(p), wide.parameters()[p].shape.back(), floors[p]));
  return errors;
}

/// The same of an exact machine that keeps in bfloat16 what bf16 keeps: the worst of the given weights and of some
/// neighbours. One draw would do if errors were not now and then near 0 by chance.
std::vector<RmsErrors> storageErrors(Model &rounded, Model &wide, const Batch &batch,
                                     const std::vector<double> &floors) {
  constexpr uint64_t kDraws = 4;
  const std::vector<HostTensor> weights = weightsOf(wide);
  auto restore = [&](Model &model) {
    for (size_t p = 0; p < weights.size(); ++p)
      std::ranges::copy(weights[p].as<double>(), model.parameter(p).as<double>().begin());
  };
  std::vector<RmsErrors> worst(weights.size() + 1);
  for (uint64_t draw = 0; draw < kDraws; ++draw) {
    for (Model *model : {&rounded, &wide}) {
      restore(*model);
      if (draw > 0)
        nudgeWeights(*model, draw);
    }
    const std::vector<RmsErrors> errors = errorsOf(rounded, wide, batch, floors);
    for (size_t i = 0; i < errors.size(); ++i)
      worst[i] = {std::max(worst[i].whole, errors[i].whole), std::max(worst[i].row, errors[i].row)};
  }
  restore(wide);
  return worst;
}

/// Of decoding from each prefix, all of them together: a few rows alone may be those that roundings are magnified in.
RmsErrors decodingErrors(Model &model, Model &wide, const Batch &batch) {
  HostTensor full = wide.logits(batch.ids, batch.B, batch.T);
  Decoded decoded;
  for (int64_t prefix : prefixesOf(batch))
    decode(model, batch, full, prefix, decoded);
  return rmsErrors(Decoded::span(decoded.have), Decoded::span(decoded.want), wide.vocab());
}

/// Logits, decoding and gradients in bf16. On weights that bfloat16 holds, so that only what is computed differs:
/// rounding the weights themselves would be most of the error. Where a bound is missed it is asked what `rounded`,
/// exact but for memory in bfloat16, misses: a norm behind a number near 0 magnifies roundings that no program avoids.
void checkHalf(Model &half, Model &wide, Model *rounded, const Batch &batch, VerifyReport &report) {
  constexpr double kOfStorage = 3; // Products inside scans round too, and errors of one draw scatter.
  roundWeights(half);
  roundWeights(wide);
  wide.lossAndGradients(batch.tokens());
  std::vector<ValueAndGradient> all;
  for (size_t p = 0; p < wide.parameters().size(); ++p)
    all.push_back({wide.parameter(p), wide.gradient(p)});
  const std::vector<double> floors = halfGradientFloors(all);
  std::vector<RmsErrors> errors = errorsOf(half, wide, batch, floors);
  std::vector<HalfBound> bounds{kHalfBound};
  for (const auto &parameter : wide.parameters())
    bounds.push_back(parameter.shape.size() < 2 ? kHalfVectorBound : kHalfGradientBound);
  errors.push_back(decodingErrors(half, wide, batch)); // last, and held to what logits are
  bounds.push_back(kHalfBound);
  auto misses = [&](size_t i) { return !(errors[i].whole <= bounds[i].tensor) || !(errors[i].row <= bounds[i].row()); };
  std::vector<RmsErrors> ofStorage(errors.size());
  for (size_t i = 0; i < errors.size() && rounded; ++i)
    if (misses(i)) {
      ofStorage = storageErrors(*rounded, wide, batch, floors);
      ofStorage.push_back(ofStorage.front());
      break;
    }
  for (size_t i = 0; i < errors.size(); ++i) {
    const bool isDecoding = i + 1 == errors.size(), isGradient = i > 0 && !isDecoding;
    const std::string check = isDecoding ? "decoding, bf16 = f64" : isGradient ? "gradients, bf16 = f64" : "bf16 = f64";
    const std::string tensor = isGradient ? wide.parameters()[i - 1].name : "logits";
    report.add(check, tensor, errors[i].whole, std::max(bounds[i].tensor, kOfStorage * ofStorage[i].whole));
    report.add(check + ", rows", tensor, errors[i].row, std::max(bounds[i].row(), kOfStorage * ofStorage[i].row));
  }
}

} // namespace

void tool::addHalf(VerifyReport &report, const std::string &check, const std::string &tensor, const RmsErrors &errors,
                   HalfBound bound) {
  report.add(check, tensor, errors.whole, bound.tensor);
  report.add(check + ", rows", tensor, errors.row, bound.row());
}

void tool::climbLadder(const LadderModels &models, const LadderSizes &sizes, VerifyReport &report) {
  auto &[chunk64, token64, chunk32, documents64, documents32, chunk16, rounded64] = models;
  for (Model *model : {&chunk64, token64, chunk32, documents64, documents32, chunk16})
    if (model)
      randomWeights(*model, sizes.seed);
  const int64_t vocab = chunk64.vocab(), longest = *std::max_element(sizes.lengths.begin(), sizes.lengths.end());
  auto batchOf = [&](int64_t T) { return Batch(sizes.batch, T, vocab, sizes.seed); };
  auto logits = [](Model &model, const Batch &batch) { return model.logits(batch.ids, batch.B, batch.T); };
  const Batch middle = batchOf(std::min<int64_t>(65, longest)), whole = batchOf(longest);

  if (token64) {
    for (int64_t T : sizes.lengths) {
      Batch batch = batchOf(T);
      HostTensor oracle = logits(*token64, batch), chunked = logits(chunk64, batch);
      report.add("chunk form = token form", lengthText(T), relativeError(chunked.view(), oracle.view()), kFormBound);
    }
    for (int64_t T : {std::min<int64_t>(17, longest), longest}) {
      Batch batch = batchOf(T);
      compareGradients(chunk64, *token64, batch, "gradients, chunk = token, " + lengthText(T), kFormGradientBound,
                       report);
    }
    checkDifferences(*token64, middle, sizes.seed, "gradients, token = differences", report);
    checkDifferences(chunk64, middle, sizes.seed, "gradients, chunk = differences", report);
    checkDecoding(chunk64, whole, "decoding = full forward", kFormBound, report);
  }
  if (chunk32) {
    checkDecoding(*chunk32, whole, "f32 decoding = full forward", kSingleDecodingBound, report);
    HostTensor wide = logits(chunk64, whole), narrow = logits(*chunk32, whole);
    report.add("f32 = f64", lengthText(longest), relativeError(narrow.view(), wide.view()), kSingleBound);
    compareGradients(*chunk32, chunk64, whole, "gradients, f32 = f64", kSingleGradientBound, report);
  }
  if (documents64) {
    checkDocuments(*documents64, chunk64, whole, report);
    checkDecodingBehindReset(*documents64, chunk64, whole, "decoding behind a reset = separate run", kFormBound,
                             report);
  }
  if (chunk32 && documents32)
    checkDecodingBehindReset(*documents32, *chunk32, whole, "f32 decoding behind a reset = separate run",
                             kSingleDecodingBound, report);
  if (chunk16) // Last: it changes the weights.
    checkHalf(*chunk16, chunk64, rounded64, whole, report);
}
