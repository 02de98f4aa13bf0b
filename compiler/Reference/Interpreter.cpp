//===- Interpreter.cpp - What a function computes, in fp64 ------*- C++ -*-===//
// Straight-line blocks over an environment of tensors; the ops with a region
// (nn.map, rec.scan) run their body once per row or step.
//===----------------------------------------------------------------------===//
#include "compiler/Reference/Interpreter.h"

#include "compiler/Reference/Meaning.h"
#include "ir/Nn/NnOps.h"
#include "ir/Rec/RecOps.h"
#include "mlir/IR/SymbolTable.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::reference;

using Environment = llvm::DenseMap<Value, Tensor>;
using Tensors = std::vector<Tensor>;

static FailureOr<Tensors> evaluate(Operation *op, Operands operands);

/// Runs the ops of a block whose arguments are in `env`; gives the terminator's operands.
/// `isLastStep` is for the body of a scan.
static FailureOr<Tensors> runBlock(Block &block, Environment &env, bool isLastStep = false) {
  SmallVector<const Tensor *> operands;
  for (Operation &op : block.without_terminator()) {
    operands.clear();
    for (Value operand : op.getOperands())
      operands.push_back(&env.find(operand)->second);
    if (auto choice = dyn_cast<rec::UnlessLastOp>(op)) {
      Tensor chosen = *operands[isLastStep ? 1 : 0];
      env[choice] = std::move(chosen);
      continue;
    }
    if (auto when = dyn_cast<rec::WhenOp>(op)) {
      Tensor chosen = *operands[operands[0]->values.back() != 0 ? 1 : 2];
      env[when] = std::move(chosen);
      continue;
    }
    auto results = evaluate(&op, operands);
    if (failed(results))
      return failure();
    for (auto [value, tensor] : llvm::zip(op.getResults(), *results))
      env[value] = std::move(tensor);
  }
  Tensors yielded;
  for (Value value : block.getTerminator()->getOperands())
    yielded.push_back(env.find(value)->second);
  return yielded;
}

/// `count` elements from `begin` on as a tensor of the given shape.
static Tensor cut(const Tensor &from, int64_t begin, std::vector<int64_t> shape) {
  Tensor part;
  int64_t count = product(shape);
  if (!from.ids.empty())
    part.ids.assign(from.ids.begin() + begin, from.ids.begin() + begin + count);
  else
    part.values.assign(from.values.begin() + begin, from.values.begin() + begin + count);
  part.shape = std::move(shape);
  return part;
}

static std::vector<int64_t> dropFront(const std::vector<int64_t> &shape, size_t n) {
  return {shape.begin() + n, shape.end()};
}

//===----------------------------------------------------------------------===//
// nn.map
//===----------------------------------------------------------------------===//

static FailureOr<Tensors> evaluateMap(nn::MapOp op, Operands operands) {
  size_t rank = op.getRowRank();
  std::vector<int64_t> space;
  for (auto [i, isRow] : llvm::enumerate(op.getOperandRows()))
    if (isRow) {
      std::vector<int64_t> own(operands[i]->shape.begin(), operands[i]->shape.begin() + rank);
      if (!space.empty() && own != space)
        return op.emitOpError("row dimensions of operand ") << i << " differ from the others at run time";
      space = own;
    }
  int64_t rows = product(space);
  Tensors results;
  for (auto [i, result] : llvm::enumerate(op.getResults())) {
    auto type = cast<RankedTensorType>(result.getType());
    std::vector<int64_t> shape = op.getResultRows()[i] ? space : std::vector<int64_t>();
    for (int64_t size : type.getShape().drop_front(shape.size()))
      shape.push_back(size);
    results.push_back(Tensor::zeros(shape));
  }
  Block &body = op.getBody().front();
  Environment env;
  for (int64_t row = 0; row < rows; ++row) {
    for (auto [i, tensor] : llvm::enumerate(operands)) {
      auto inner = dropFront(tensor->shape, op.getOperandRows()[i] ? rank : 0);
      int64_t begin = op.getOperandRows()[i] ? row * product(inner) : 0;
      env[body.getArgument(i)] = cut(*tensor, begin, inner);
    }
    auto values = runBlock(body, env);
    if (failed(values))
      return failure();
    for (auto [i, value] : llvm::enumerate(*values)) {
      int64_t begin = op.getResultRows()[i] ? row * value.size() : 0;
      for (size_t e = 0; e < value.values.size(); ++e)
        results[i].values[begin + e] += value.values[e];
    }
  }
  return results;
}

//===----------------------------------------------------------------------===//
// rec.scan
//===----------------------------------------------------------------------===//

namespace {
/// One execution of a scan: sizes, and where each step of one batch row and
/// head finds its slices.
class Scan {
public:
  Scan(rec::ScanOp op, Operands operands) : op(op), operands(operands), chunk(op.getChunk()) {
    const auto &first = operands.front()->shape;
    batch = first[0], tokens = first[1], heads = op.getHeads();
    steps = (tokens + chunk - 1) / chunk;
    for (unsigned i = 0; i < op.getNumOutputs(); ++i)
      outputHeads.push_back(op.headsOfOutput(i));
  }

  FailureOr<Tensors> run() {
    if (failed(checkSizes()))
      return failure();
    allocateResults();
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t h = 0; h < heads; ++h)
        if (failed(runHead(b, h)))
          return failure();
    return std::move(results);
  }

private:
  static constexpr auto kToken = rec::OperandKind::Token;

  std::vector<int64_t> leading(rec::OperandKind kind) const {
    switch (kind) {
    case rec::OperandKind::Token:
      return {batch, tokens, heads};
    case rec::OperandKind::Step:
      return {batch, steps, heads};
    case rec::OperandKind::Head:
      return {heads};
    case rec::OperandKind::Row:
      return {batch, heads};
    case rec::OperandKind::Shared:
      return {};
    }
    llvm_unreachable("all kinds are named");
  }

  LogicalResult checkSizes() {
    for (auto [i, tensor] : llvm::enumerate(operands.take_front(op.getInputs().size()))) {
      auto want = leading(op.kindOf(i));
      if (op.kindOf(i) == kToken) // checked by the verifier
        want[2] = tensor->shape[2];
      if (!std::equal(want.begin(), want.end(), tensor->shape.begin()))
        return op.emitOpError("operand ") << i << " disagrees in B, T, N or H at run time";
    }
    return success();
  }

  static std::vector<int64_t> staticShape(Value value) {
    return cast<RankedTensorType>(value.getType()).getShape().vec();
  }

  void allocate(std::vector<int64_t> shape, const std::vector<int64_t> &rest) {
    shape.insert(shape.end(), rest.begin(), rest.end());
    results.push_back(Tensor::zeros(shape));
  }

  void allocateResults() {
    auto yields = op.getBody().front().getTerminator()->getOperands();
    for (unsigned i = 0; i < op.getNumOutputs(); ++i) {
      bool rows = op.outKindOf(i) == kToken && chunk > 1;
      auto shape = leading(op.outKindOf(i));
      shape.back() = op.headsOfOutput(i);
      allocate(shape, dropFront(staticShape(yields[i]), rows));
    }
    for (Value state : op.getBodyStates())
      allocate({batch, heads}, staticShape(state));
    if (op.getSaveStates())
      for (Value state : op.getBodyStates())
        allocate(leading(rec::OperandKind::Step), staticShape(state));
  }

  /// What the body sees of operand `i` in step `n`.
  Tensor slice(unsigned i, int64_t b, int64_t h, int64_t n) {
    const Tensor &from = *operands[i];
    auto rest = dropFront(from.shape, leading(op.kindOf(i)).size());
    int64_t width = product(rest);
    switch (op.kindOf(i)) {
    case rec::OperandKind::Token:
      if (chunk == 1)
        return cut(from, headRow(from.shape[2], b * tokens + n, h) * width, rest);
      return tokenRows(from, b, h, n, rest);
    case rec::OperandKind::Step:
      return cut(from, ((b * steps + n) * heads + h) * width, rest);
    case rec::OperandKind::Head:
      return cut(from, h * width, rest);
    case rec::OperandKind::Row:
      return cut(from, (b * heads + h) * width, rest);
    case rec::OperandKind::Shared:
      return from;
    }
    llvm_unreachable("all kinds are named");
  }

  /// Row of head `h` among the rows of a tensor with `own` heads.
  int64_t headRow(int64_t own, int64_t outer, int64_t h) const { return outer * own + h / (heads / own); }

  /// The rows of chunk `n`; those beyond the last token are zero.
  Tensor tokenRows(const Tensor &from, int64_t b, int64_t h, int64_t n, std::vector<int64_t> rest) const {
    int64_t width = product(rest);
    rest.insert(rest.begin(), chunk);
    Tensor tile;
    bool isIndex = !from.ids.empty();
    isIndex ? tile.ids.assign(chunk * width, 0) : tile.values.assign(chunk * width, 0.0);
    tile.shape = std::move(rest);
    for (int64_t row = 0; row < chunk && n * chunk + row < tokens; ++row) {
      int64_t begin = headRow(from.shape[2], b * tokens + n * chunk + row, h) * width;
      if (isIndex)
        std::copy_n(from.ids.begin() + begin, width, tile.ids.begin() + row * width);
      else
        std::copy_n(from.values.begin() + begin, width, tile.values.begin() + row * width);
    }
    return tile;
  }

  /// Adds what the body yielded for output `i` in step `n` to the result, which starts at zero.
  void store(unsigned i, int64_t b, int64_t h, int64_t n, const Tensor &value) {
    Tensor &to = results[i];
    bool isToken = op.outKindOf(i) == kToken;
    int64_t rows = isToken ? chunk : 1, first = isToken ? n * chunk : n, limit = isToken ? tokens : steps;
    int64_t width = value.size() / rows;
    for (int64_t row = 0; row < rows && first + row < limit; ++row) {
      double *place = to.values.data() + headRow(outputHeads[i], b * limit + first + row, h) * width;
      for (int64_t d = 0; d < width; ++d)
        place[d] += value.values[row * width + d];
    }
  }

  LogicalResult runHead(int64_t b, int64_t h) {
    unsigned numInputs = op.getInputs().size(), numOutputs = op.getNumOutputs(), numStates = op.getNumStates();
    Tensors states;
    for (auto [i, state] : llvm::enumerate(op.getBodyStates())) {
      auto shape = staticShape(state);
      bool given = i < op.getInits().size();
      int64_t at = given && op.initKind(i) == rec::OperandKind::Head ? h : b * heads + h;
      states.push_back(given ? cut(*operands[numInputs + i], at * product(shape), shape) : Tensor::zeros(shape));
    }
    Block &body = op.getBody().front();
    Environment env;
    for (int64_t s = 0; s < steps; ++s) {
      int64_t n = op.getReverse() ? steps - 1 - s : s;
      for (unsigned i = 0; i < numInputs; ++i)
        env[op.getBodyInputs()[i]] = slice(i, b, h, n);
      for (unsigned i = 0; i < numStates; ++i) {
        if (op.getSaveStates())
          std::copy(states[i].values.begin(), states[i].values.end(),
                    results[numOutputs + numStates + i].values.begin() +
                        ((b * steps + n) * heads + h) * states[i].size());
        env[op.getBodyStates()[i]] = std::move(states[i]);
      }
      auto values = runBlock(body, env, /*isLastStep=*/n == steps - 1);
      if (failed(values))
        return failure();
      for (unsigned i = 0; i < numOutputs; ++i)
        store(i, b, h, n, (*values)[i]);
      for (unsigned i = 0; i < numStates; ++i)
        states[i] = std::move((*values)[numOutputs + i]);
    }
    for (unsigned i = 0; i < numStates; ++i)
      std::copy(states[i].values.begin(), states[i].values.end(),
                results[numOutputs + i].values.begin() + (b * heads + h) * states[i].size());
    return success();
  }

  rec::ScanOp op;
  Operands operands;
  int64_t chunk, batch, tokens, heads, steps;
  std::vector<int64_t> outputHeads; // asked of the op once
  Tensors results;
};
} // namespace

//===----------------------------------------------------------------------===//
// Ops and functions
//===----------------------------------------------------------------------===//

static FailureOr<Tensors> runFunction(func::FuncOp func, Operands operands) {
  if (func.isExternal())
    return func.emitOpError("has no body to execute");
  Environment env;
  for (auto [argument, tensor] : llvm::zip(func.getArguments(), operands))
    env[argument] = *tensor;
  return runBlock(func.getBody().front(), env);
}

static FailureOr<Tensors> runCallee(Operation *op, FlatSymbolRefAttr name, Operands operands) {
  auto callee = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(op, name);
  if (!callee)
    return op->emitOpError("calls an unknown function '") << name.getValue() << "'";
  return runFunction(callee, operands);
}

static FailureOr<Tensors> evaluate(Operation *op, Operands operands) {
  if (auto scan = dyn_cast<rec::ScanOp>(op))
    return Scan(scan, operands).run();
  if (auto map = dyn_cast<nn::MapOp>(op))
    return evaluateMap(map, operands);
  if (auto call = dyn_cast<func::CallOp>(op))
    return runCallee(op, call.getCalleeAttr(), operands);
  if (auto blocks = dyn_cast<nn::BlocksOp>(op)) // in one block
    return runCallee(op, blocks.getCalleeAttr(), operands);
  bool isKnown = false;
  for (auto family : {evaluateConv, evaluateAttention}) {
    FailureOr<Tensors> results = family(op, operands, isKnown);
    if (isKnown)
      return results;
  }
  for (auto family : {evaluateElementwise, evaluateNn, evaluateRec}) {
    FailureOr<Tensor> result = family(op, operands, isKnown);
    if (!isKnown)
      continue;
    if (failed(result))
      return failure();
    Tensors results;
    results.push_back(std::move(*result));
    return results;
  }
  return op->emitOpError("has no reference meaning");
}

/// Checks an argument against its type.
static LogicalResult checkArgument(func::FuncOp func, size_t index, const Tensor &tensor) {
  auto type = dyn_cast<RankedTensorType>(func.getArgument(index).getType());
  bool fits = type && type.getRank() == int64_t(tensor.shape.size());
  for (int64_t d = 0; fits && d < type.getRank(); ++d)
    fits = type.isDynamicDim(d) || type.getDimSize(d) == tensor.shape[d];
  if (!fits) {
    auto diag = func.emitOpError("argument ") << index << " has type " << func.getArgument(index).getType()
                                              << ", but got a tensor of shape [";
    llvm::interleaveComma(tensor.shape, diag);
    return diag << "]";
  }
  bool wantsIds = type.getElementType().isInteger();
  size_t have = wantsIds ? tensor.ids.size() : tensor.values.size();
  if (have != size_t(tensor.size()))
    return func.emitOpError("argument ") << index << " needs " << tensor.size()
                                         << (wantsIds ? " indices" : " numbers") << ", but got " << have;
  return success();
}

FailureOr<std::vector<Tensor>> reference::run(func::FuncOp func, ArrayRef<Tensor> arguments) {
  if (func.getNumArguments() != arguments.size())
    return func.emitOpError("takes ") << func.getNumArguments() << " arguments, but got " << arguments.size();
  SmallVector<const Tensor *> operands;
  for (auto [i, tensor] : llvm::enumerate(arguments)) {
    if (failed(checkArgument(func, i, tensor)))
      return failure();
    operands.push_back(&tensor);
  }
  return runFunction(func, operands);
}
