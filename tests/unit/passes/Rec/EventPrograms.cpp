//===- EventPrograms.cpp - Random recurrences in token form ---------------===//
#include "EventPrograms.h"

#include <cmath>

using namespace tidegate;
using namespace tidegate::test;

reference::Tensor test::randomTensor(Shape shape, std::mt19937 &random, double size) {
  std::normal_distribution<double> normal(0, size);
  auto tensor = reference::Tensor::zeros(std::move(shape));
  for (double &x : tensor.values)
    x = normal(random);
  return tensor;
}

double test::largest(const reference::Tensor &a) {
  double most = 0;
  for (double x : a.values)
    most = std::isfinite(x) ? std::max(most, std::abs(x)) : INFINITY;
  return most;
}

double test::relativeError(const reference::Tensor &a, const reference::Tensor &b, double floor) {
  if (a.shape != b.shape)
    return INFINITY;
  double error = 0;
  for (size_t i = 0; i < a.values.size(); ++i) {
    double difference = std::abs(a.values[i] - b.values[i]);
    error = std::isfinite(difference) ? std::max(error, difference) : INFINITY;
  }
  return error / std::max(largest(b), floor);
}

std::function<double()> test::gatesFrom(std::vector<double> choices, std::mt19937 &random) {
  return [choices, &random] { return choices[std::uniform_int_distribution<size_t>(0, choices.size() - 1)(random)]; };
}

std::vector<Event> test::randomEvents(std::mt19937 &random) {
  auto coin = [&] { return random() % 2 == 0; };
  std::vector<Event> events;
  bool hasAdd = false, hasRead = false;
  for (unsigned n = 2 + random() % 4; n > 0; --n) {
    char kind = "ssvmcaaaarr"[random() % 11];
    Event event{kind};
    if (kind == 'a') {
      event.hasReader = coin();
      event.hasValue = !event.hasReader || coin();
      event.isStale = coin();
      event.hasFactor = event.hasReader && random() % 4 == 0;
    }
    hasAdd |= kind == 'a';
    hasRead |= kind == 'r';
    events.push_back(event);
  }
  if (!hasAdd)
    events.insert(events.begin() + random() % (events.size() + 1), Event{'a'});
  if (!hasRead)
    events.push_back({'r'});
  return events;
}

namespace {
/// Writes the text of a scan and draws its operands.
class Writer {
public:
  Writer(const Sizes &sizes, std::mt19937 &random) : sizes(sizes), random(random) {}

  /// An operand with these dimensions after B x T x H; gives its name in the body.
  std::string operand(const Shape &rest, reference::Tensor values) {
    std::string index = std::to_string(arguments.size()), sep = arguments.empty() ? "" : ", ";
    std::string outer = "tensor<?x?x" + std::to_string(sizes.heads) + "x" + dims(rest) + "f64>";
    parameters += sep + "%x" + index + ": " + outer;
    names += sep + "%x" + index;
    outerTypes += sep + outer;
    kinds += sep + "0";
    blockArguments += "%t" + index + ": " + type(rest) + ", ";
    arguments.push_back(std::move(values));
    return "%t" + index;
  }
  Shape full(const Shape &rest) const {
    Shape shape{sizes.batch, sizes.tokens, sizes.heads};
    shape.insert(shape.end(), rest.begin(), rest.end());
    return shape;
  }
  std::string line(const std::string &expression, const std::string &type) {
    std::string name = "%v" + std::to_string(count++);
    body += "    " + name + " = " + expression + " : " + type + "\n";
    return name;
  }
  static std::string dims(const Shape &shape) {
    std::string text;
    for (int64_t size : shape)
      text += std::to_string(size) + "x";
    return text;
  }
  static std::string type(const Shape &shape) { return "tensor<" + dims(shape) + "f64>"; }

  Sizes sizes;
  std::mt19937 &random;
  std::vector<reference::Tensor> arguments;
  std::string parameters, names, outerTypes, kinds, blockArguments, body;
  unsigned count = 0;
};
} // namespace

Case test::makeCase(const std::vector<Event> &events, const Sizes &sizes, std::mt19937 &random,
                    const std::function<double()> &logDecay, const Restarts &restarts) {
  Writer w(sizes, random);
  const int64_t keys = sizes.keys, values = sizes.values;
  const std::string keyType = Writer::type({keys}), valueType = Writer::type({values}),
                    stateType = Writer::type({keys, values});
  auto vectors = [&](int64_t width, double size) {
    return randomTensor(w.full({width}), random, size / std::sqrt(double(width)));
  };
  const bool restarting = !restarts.flags.empty();
  const std::string entry = restarting ? "%R" : "%S";
  std::string state = entry, yields, yieldTypes, resultTypes, outKinds;
  unsigned numReads = 0;
  for (const Event &event : events) {
    if (event.kind != 'a' && event.kind != 'r') {
      auto decay = [&](const Shape &rest) {
        auto gate = reference::Tensor::zeros(w.full(rest));
        for (double &g : gate.values)
          g = logDecay();
        return w.line("nn.exp " + w.operand(rest, gate), Writer::type(rest));
      };
      std::string a = decay(event.kind == 'c' ? Shape{} : event.kind == 'v' ? Shape{values} : Shape{keys});
      std::string aType = event.kind == 'c' ? Writer::type({}) : event.kind == 'v' ? valueType : keyType;
      if (event.kind == 's') {
        aType = Writer::type({keys, 1});
        a = w.line("nn.reshape " + a, keyType + " -> " + aType);
      } else if (event.kind == 'm') {
        aType = stateType;
        a = w.line("nn.dot " + a + ", " + decay({values}) + " contract [] x []", keyType + ", " + valueType);
      }
      bool first = random() % 2;
      state = first ? w.line("nn.mul " + a + ", " + state, aType + ", " + stateType)
                    : w.line("nn.mul " + state + ", " + a, stateType + ", " + aType);
    } else if (event.kind == 'a') {
      auto key = vectors(keys, event.hasReader ? 0.7 : 1.0);
      std::string k = w.operand({keys}, key), u;
      if (event.hasValue)
        u = w.operand({values}, vectors(values, 1.0));
      if (event.hasReader) { // close to a projection, so that long programs do not grow
        auto reader = key;
        auto noise = randomTensor(key.shape, random, 0.3 / std::sqrt(double(keys * sizes.tokens)));
        for (size_t i = 0; i < reader.values.size(); ++i)
          reader.values[i] = -std::clamp(reader.values[i], -0.9, 0.9) + noise.values[i];
        std::string r = w.line("nn.dot " + w.operand({keys}, reader) + ", " + (event.isStale ? entry : state) +
                                   " contract [0] x [0]",
                               keyType + ", " + stateType);
        if (event.hasFactor) {
          auto factor = randomTensor(w.full({values}), random);
          for (double &f : factor.values)
            f = std::clamp(f, -0.9, 0.9);
          r = w.line("nn.mul " + w.operand({values}, factor) + ", " + r, valueType + ", " + valueType);
        }
        u = u.empty() ? r : w.line("nn.add " + u + ", " + r, valueType + ", " + valueType);
      }
      std::string kv = w.line("nn.dot " + k + ", " + u + " contract [] x []", keyType + ", " + valueType);
      state = w.line("nn.add " + state + ", " + kv, stateType + ", " + stateType);
    } else {
      std::string q = w.operand({keys}, vectors(keys, 1.0));
      bool first = random() % 2;
      yields += (first ? w.line("nn.dot " + q + ", " + state + " contract [0] x [0]", keyType + ", " + stateType)
                       : w.line("nn.dot " + state + ", " + q + " contract [0] x [0]", stateType + ", " + keyType)) +
                ", ";
      yieldTypes += valueType + ", ";
      resultTypes += "tensor<?x?x" + std::to_string(sizes.heads) + "x" + Writer::dims({values}) + "f64>, ";
      outKinds += numReads++ ? ", 0" : "0";
    }
  }
  std::string outerState =
      "tensor<?x" + std::to_string(sizes.heads) + "x" + Writer::dims({keys, values}) + "f64>";
  std::string n = std::to_string(numReads + 1), reset;
  if (restarting) {
    auto flags = reference::Tensor::zeros(w.full({}));
    for (size_t i = 0; i < flags.values.size(); ++i)
      flags.values[i] = restarts.flags[i / sizes.heads];
    reset = "    %R = rec.reset %S, " + w.operand({}, flags);
    if (restarts.toInitial) {
      w.names += ", %s0";
      w.outerTypes += ", " + outerState;
      w.kinds += ", 4";
      w.blockArguments += "%init: " + stateType + ", ";
      reset += " to %init";
    }
    reset += " : " + stateType + ", tensor<f64>" + (restarts.toInitial ? ", " + stateType : "") + "\n";
  }
  Case result;
  result.numReads = numReads;
  result.text = "func.func @f(" + w.parameters + ", %s0: " + outerState + ") -> (" + resultTypes + outerState +
                ") {\n  %r:" + n + " = rec.scan chunk 1 (" + w.names + " : " + w.outerTypes + ") init (%s0 : " +
                outerState + ") kinds [" + w.kinds + "] out_kinds [" + outKinds + "] states 1 {\n  ^bb0(" +
                w.blockArguments + "%S: " + stateType + "):\n" + reset + w.body + "    rec.yield " + yields + state + " : " +
                yieldTypes + stateType + "\n  } -> " + resultTypes + outerState + "\n  return ";
  for (unsigned i = 0; i <= numReads; ++i)
    result.text += (i ? ", %r#" : "%r#") + std::to_string(i);
  result.text += " : " + resultTypes + outerState + "\n}\n";
  result.arguments = std::move(w.arguments);
  result.arguments.push_back(randomTensor({sizes.batch, sizes.heads, keys, values}, random));
  return result;
}
