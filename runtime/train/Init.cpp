//===- Init.cpp - Reading `init` texts and drawing values -------*- C++ -*-===//
// Draws are made in double and rounded once, so f32 and f64 models of one seed
// agree to rounding. Expressions are evaluated a block of elements at a time.
//===----------------------------------------------------------------------===//
#include "runtime/train/Init.h"

#include "runtime/core/Error.h"
#include "runtime/core/Random.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <optional>
#include <span>
#include <string_view>

using namespace tidegate::train;
using tidegate::runtime::HostSpan;
using tidegate::runtime::RandomStream;
using tidegate::runtime::RuntimeError;

namespace {

using Op = Initialiser::Op;
constexpr int64_t kBlock = 1024; // Even, so that no pair of normal draws is split.

struct Function {
  std::string_view name;
  Op op;
  size_t operands;
};
constexpr Function kFunctions[] = {
    {"neg", Op::Neg, 1},         {"exp", Op::Exp, 1},         {"log", Op::Log, 1}, {"sqrt", Op::Sqrt, 1},
    {"add", Op::Add, 2},         {"sub", Op::Sub, 2},         {"mul", Op::Mul, 2}, {"div", Op::Div, 2},
    {"maximum", Op::Maximum, 2}, {"minimum", Op::Minimum, 2}, {"softplus_inverse", Op::SoftplusInverse, 1}};

/// Recursive descent over the text; an empty result is a syntax error.
class Reader {
public:
  explicit Reader(std::string_view text) : rest(text) {}

  std::optional<Initialiser> whole() {
    auto result = expression();
    skipSpace();
    return rest.empty() ? result : std::nullopt;
  }

private:
  void skipSpace() { rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size())); }
  bool accept(char c) {
    skipSpace();
    if (!rest.starts_with(c))
      return false;
    rest.remove_prefix(1);
    return true;
  }

  std::optional<Initialiser> expression() {
    skipSpace();
    double number;
    auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
    if (error == std::errc() && std::isfinite(number)) {
      rest.remove_prefix(end - rest.data());
      return Initialiser{Op::Number, number, 0, 0, {}};
    }
    size_t length = 0;
    while (length < rest.size() && (std::isalnum(static_cast<unsigned char>(rest[length])) || rest[length] == '_'))
      ++length;
    const std::string_view word = rest.substr(0, length);
    rest.remove_prefix(length);
    std::vector<Initialiser> operands;
    if (accept('('))
      do {
        auto operand = expression();
        if (!operand)
          return std::nullopt;
        operands.push_back(std::move(*operand));
      } while (accept(','));
    else
      return leaf(word, {});
    if (!accept(')'))
      return std::nullopt;
    for (const Function &function : kFunctions)
      if (function.name == word && function.operands == operands.size())
        return Initialiser{function.op, 0, 0, 0, std::move(operands)};
    return leaf(word, operands);
  }

  std::optional<Initialiser> leaf(std::string_view word, std::span<const Initialiser> numbers) {
    const size_t n = numbers.size();
    for (const Initialiser &number : numbers)
      if (number.op != Op::Number)
        return std::nullopt;
    if (n == 0 && (word == "zeros" || word == "ones"))
      return Initialiser{Op::Number, word == "ones" ? 1.0 : 0.0, 0, 0, {}};
    if (word == "constant" && n == 1)
      return numbers[0];
    if (word == "normal" && n == 1 && numbers[0].a >= 0)
      return Initialiser{Op::Normal, numbers[0].a, 0, draws++, {}};
    if (word == "uniform" && n == 2 && numbers[0].a <= numbers[1].a)
      return Initialiser{Op::Uniform, numbers[0].a, numbers[1].a, draws++, {}};
    return std::nullopt;
  }

  std::string_view rest;
  int draws = 0;
};

double apply(Op op, double x, double y) {
  switch (op) {
  case Op::Neg:
    return -x;
  case Op::Add:
    return x + y;
  case Op::Sub:
    return x - y;
  case Op::Mul:
    return x * y;
  case Op::Div:
    return x / y;
  case Op::Exp:
    return std::exp(x);
  case Op::Log:
    return std::log(x);
  case Op::Sqrt:
    return std::sqrt(x);
  case Op::Maximum:
    return std::max(x, y);
  case Op::Minimum:
    return std::min(x, y);
  case Op::SoftplusInverse: // log(exp(x) - 1), for x > 0
    return x + std::log(-std::expm1(-x));
  default:
    throw RuntimeError(RuntimeError::Kind::Internal, "a leaf of an initialisation was applied");
  }
}

/// Elements first, first + 1, ... of the expression; `first` is even.
void evaluate(const Initialiser &init, const std::string &name, uint64_t seed, int64_t first, std::span<double> out) {
  const int64_t n = static_cast<int64_t>(out.size());
  auto stream = [&] { return RandomStream(seed, init.draw == 0 ? name : name + "#" + std::to_string(init.draw)); };
  switch (init.op) {
  case Op::Number:
    std::fill(out.begin(), out.end(), init.a);
    return;
  case Op::Uniform: {
    const RandomStream draws = stream();
    for (int64_t i = 0; i < n; ++i)
      out[i] = init.a + (init.b - init.a) * draws.uniform(first + i);
    return;
  }
  case Op::Normal: {
    const RandomStream draws = stream();
    for (int64_t i = 0; i < n; i += 2) {
      auto pair = draws.normalPair((first + i) / 2);
      for (int64_t j = i; j < std::min(i + 2, n); ++j)
        out[j] = init.a * pair[j - i];
    }
    return;
  }
  default: {
    evaluate(init.operands[0], name, seed, first, out);
    std::vector<double> second(init.operands.size() > 1 ? n : 0);
    if (!second.empty())
      evaluate(init.operands[1], name, seed, first, second);
    for (int64_t i = 0; i < n; ++i)
      out[i] = apply(init.op, out[i], second.empty() ? 0 : second[i]);
  }
  }
}

} // namespace

Initialiser tidegate::train::parseInit(const std::string &init, const std::string &name) {
  if (auto result = Reader(init).whole())
    return *result;
  throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                     "weight '" + name + "' has init '" + init +
                         "', expected zeros, ones, constant(c), normal(std), uniform(low, high), or functions of them");
}

void tidegate::train::initialise(const Initialiser &init, const std::string &name, uint64_t seed, HostSpan target) {
  const int64_t blocks = (target.elements + kBlock - 1) / kBlock;
  bool finite = true;
#pragma omp parallel for reduction(&& : finite)
  for (int64_t block = 0; block < blocks; ++block) {
    double values[kBlock];
    const int64_t first = block * kBlock, n = std::min(kBlock, target.elements - first);
    evaluate(init, name, seed, first, {values, static_cast<size_t>(n)});
    for (int64_t i = 0; i < n; ++i) {
      target.set(first + i, values[i]);
      finite = finite && std::isfinite(values[i]);
    }
  }
  if (!finite)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       "the init of weight '" + name + "' gives values that are not finite");
}

void tidegate::train::initialiseParameters(Model &model, uint64_t seed) {
  const auto &parameters = model.parameters();
  for (size_t i = 0; i < parameters.size(); ++i)
    initialise(parseInit(parameters[i].init, parameters[i].name), parameters[i].name, seed, model.parameter(i));
}
