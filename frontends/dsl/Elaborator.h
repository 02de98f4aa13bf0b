//===- Elaborator.h - Programs to nn and rec --------------------*- C++ -*-===//
// Runs a program at compile time: numbers are computed, branches taken, calls
// inlined, and every operation on tensors leaves an op behind. Shapes are
// checked here, where all of them are known.
//
// Two stacks. A CallFrame is a call of the language: its names, and the path of
// its weights. A RegionFrame is a body of IR under construction: the entry, the
// private function of a `repeat` iteration, or the body of a `scan`. A tensor
// that is used in a deeper region than its own becomes an argument there.
//===----------------------------------------------------------------------===//
#ifndef TIDEGATE_FRONTENDS_DSL_ELABORATOR_H
#define TIDEGATE_FRONTENDS_DSL_ELABORATOR_H

#include "frontends/dsl/ConstEval.h"
#include "frontends/dsl/Frontend.h"
#include "frontends/dsl/Symbols.h"
#include "ir/Nn/ReverseMode.h"
#include "llvm/ADT/MapVector.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"

namespace tidegate::dsl {

class Elaborator {
public:
  /// Bounds on what a program may unroll to.
  static constexpr unsigned kMaxCalls = 64, kMaxDepth = 1500, kMaxIterations = 4096;
  static constexpr uint64_t kMaxStatements = 400000;

  Elaborator(mlir::MLIRContext &context, const Symbols &symbols, const llvm::StringMap<Value> &params,
             Diagnostics &diagnostics, bool f64);

  mlir::OwningOpRef<mlir::ModuleOp> run(const Function &entry, const GenerateOptions &options);
  std::vector<WeightInfo> takeWeights() { return std::move(weights); }

private:
  /// A call of a fn or layer; the entry is the outermost.
  struct CallFrame {
    const Function *function = nullptr;
    const CallExpr *call = nullptr; ///< Null for the entry.
    CallFrame *caller = nullptr;
    std::string prefix; ///< Of weight names: `model.layers.3.attn`.
    llvm::StringMap<Value> env;
    std::optional<Shape> ellipsis;
    Range ellipsisOrigin;
    bool returned = false;
    std::vector<Value> results;
    std::vector<const Expr *> resultExprs;
    mlir::LocationAttr callerLoc;
  };

  struct WeightArgument {
    WeightInfo info;
    mlir::Value value;
  };

  struct ScanFrame;

  /// A block of IR under construction.
  struct RegionFrame {
    mlir::Block *block = nullptr;
    RegionFrame *parent = nullptr;
    mlir::OpBuilder builder;
    /// Tensors of the parent that this region uses, and its arguments for them.
    llvm::MapVector<mlir::Value, mlir::Value> captured;
    std::vector<WeightArgument> weights;
    ScanFrame *scan = nullptr; ///< Set in the body of a scan.
    explicit RegionFrame(mlir::MLIRContext *context) : builder(context) {}
  };

  /// Restores a member when a scope is left.
  template <typename T>
  struct Saved {
    T &slot, old;
    Saved(T &slot, T now) : slot(slot), old(slot) { slot = now; }
    ~Saved() { slot = old; }
  };

  // Entry (Elaborator.cpp).
  bool declareEntryArguments(const Function &entry, const GenerateOptions &options);
  bool bindOpenDims(const Function &entry, const GenerateOptions &options);
  std::optional<Shape> entryShape(const Argument &argument, const GenerateOptions &options);
  bool finishEntry(const Function &entry, mlir::func::FuncOp func);
  mlir::Value weightArgument(RegionFrame &frame, const WeightInfo &info);

  // Statements (ElabStmt.cpp).
  void execBlock(const Block &block);
  void execStmt(const Stmt &stmt);
  void execAssign(const AssignStmt &assign);
  void assign(const Target &target, Value value, const Expr &expr);
  void execReturn(const ReturnStmt &ret);
  void execIf(const IfStmt &branch);
  void execWeight(const WeightStmt &weight);

  // Repeats (ElabRepeat.cpp).
  void execRepeat(const RepeatStmt &repeat);
  bool execIteration(const RepeatStmt &repeat, int64_t iteration);
  bool execInPlace(const RepeatStmt &repeat, int64_t iteration);
  mlir::func::FuncOp finishIteration(mlir::func::FuncOp func, RegionFrame &body, mlir::ValueRange results);

  // Scans (ElabScan.cpp).
  void execScan(const ScanStmt &stmt);
  void execState(const StateStmt &state);
  bool buildScan(ScanFrame &scan, RegionFrame &body, mlir::Region &region, llvm::StringMap<Value> &after);
  std::vector<mlir::Value> buildInits(ScanFrame &scan);
  mlir::Value repeatedAlongTime(mlir::Value value, mlir::Value anchor, int64_t heads, mlir::Location place);
  Value captureInScan(const Value &value, Range use);
  Value evalIndex(const IndexExpr &index);
  Value addScanInput(const Value &outer, int mode, int64_t group, Range use);
  mlir::Value broadcastTo(mlir::Value value, mlir::Value like);

  // Expressions (ElabExpr.cpp).
  Value eval(const Expr &expr);
  Value evalUninterrupted(const Expr &expr);
  Value evalName(const NameExpr &name);
  Value evalUnary(const UnaryExpr &unary);
  Value evalBinary(const BinaryExpr &binary);
  Value evalLogical(const BinaryExpr &binary, const Value &lhs);
  Value compare(BinaryOp op, const Value &lhs, const Value &rhs, Range range);
  Value contract(const BinaryExpr &binary, const Value &lhs, const Value &rhs);
  Value scaleByDiagonal(const BinaryExpr &binary, const Value &lhs, const Value &rhs);
  Value lookup(llvm::StringRef name);
  Value materialize(const Value &value, Range use);
  mlir::Value materializeIn(RegionFrame &frame, mlir::Value value);

  // Calls (ElabCall.cpp).
  std::vector<Value> evalCall(const CallExpr &call);
  bool bindArguments(CallFrame &callee, llvm::ArrayRef<const CallArg *> given, llvm::ArrayRef<Value> values);
  bool bindShape(CallFrame &callee, const Argument &argument, const Value &value, Range use);
  bool checkShape(CallFrame &callee, const Argument &argument, const Value &value, Range use);
  bool checkResults(CallFrame &callee);
  std::optional<std::string> evalPath(const Path &path);

  // Built-in functions (ElabBuiltin.cpp).
  Value evalBuiltin(const BuiltinInfo &info, const CallExpr &call);
  Value elementwiseBuiltin(const BuiltinInfo &info, const CallExpr &call, llvm::ArrayRef<Value> args);
  Value reduce(Builtin id, const CallExpr &call, llvm::ArrayRef<Value> args);
  Value heads(const CallExpr &call, const Value &x, const Value &count);
  Value flatten(const CallExpr &call, const Value &x);
  Value transpose(const CallExpr &call, const Value &x);
  Value slice(const CallExpr &call, const Value &x, const Value &begin, const Value &size);
  Value outer(const CallExpr &call, const Value &x, const Value &y);
  Value identity(const CallExpr &call, const Value &rows, const Value &columns);
  Value matmul(const CallExpr &call, const Value &x, const Value &w);
  Value causalConv(const CallExpr &call, const Value &x, const Value &w);
  Value lookupRows(const CallExpr &call, const Value &table, const Value &ids);
  Value concat(const CallExpr &call, const Value &x, const Value &y);

  // Positions and attention (ElabAttention.cpp).
  Value iota(const CallExpr &call, const Value &size, size_t argument = 0);
  Value angles(const CallExpr &call, llvm::ArrayRef<Value> args);
  Value positions(const CallExpr &call);
  Value attention(const CallExpr &call, llvm::ArrayRef<Value> args);

  // Gradients (ElabGrad.cpp).
  Value evalGrad(const CallExpr &call);
  bool reverse(llvm::ArrayRef<mlir::Operation *> ops, nn::Cotangents &cotangents, Range range);

  // Tensors (ElabTensor.cpp).
  struct Operand {
    const Value *value;
    Range range;
  };
  bool isReal(const Value &value, Range range, llvm::StringRef where);
  bool hasRank(const Value &value, size_t least, Range range, llvm::StringRef where);
  /// The common shape of element-wise operands, or a report naming the dimensions.
  std::optional<Shape> broadcastShape(llvm::StringRef what, Range range, llvm::ArrayRef<Operand> operands);
  /// Operands as tensors that NumPy alignment broadcasts, with their shape.
  std::optional<Value> align(llvm::StringRef what, Range range, llvm::ArrayRef<Operand> operands,
                             llvm::SmallVectorImpl<mlir::Value> &tensors);
  mlir::Value constant(double value, llvm::ArrayRef<int64_t> shape, mlir::Location loc);
  mlir::Value reshape(mlir::Value value, llvm::ArrayRef<int64_t> shape, mlir::Location loc);
  Value reshaped(const Value &value, Shape shape, Range range);
  Value tensorValue(mlir::Value tensor, Shape shape, bool batched, Range origin);
  mlir::RankedTensorType tensorType(llvm::ArrayRef<int64_t> shape, bool batched);
  void describeOrigin(DiagnosticBuilder &error, llvm::StringRef who, const Operand &operand);

  // Dimensions and shapes (ElabTensor.cpp).
  std::optional<int64_t> evalDim(const Expr &expr);
  std::optional<Shape> evalShape(const ShapeType &type);
  std::optional<int64_t> evalInteger(const Expr &expr, llvm::StringRef what, int64_t least);

  // Errors and locations (Elaborator.cpp).
  DiagnosticBuilder error(Range range, const llvm::Twine &message);
  ReportFn reporter() { return report; }
  mlir::Location loc(Range range);
  void nameResult(const Value &value, llvm::StringRef name);
  bool spend(Range range);
  bool good() const { return diagnostics.errorCount() == errorsBefore; }

  mlir::MLIRContext &context;
  const Symbols &symbols;
  const llvm::StringMap<Value> &params;
  Diagnostics &diagnostics;
  mlir::Type elementType;
  std::function<void(Range, const llvm::Twine &)> report;

  mlir::ModuleOp module;
  CallFrame *frame = nullptr;
  RegionFrame *region = nullptr;
  unsigned depth = 0, calls = 0;
  uint64_t statements = 0;
  size_t errorsBefore; ///< Errors that are not ours.
  bool stopped = false; ///< A bound was hit: nothing more is elaborated.

  struct WeightPlace {
    Range declared, called;
  };
  std::vector<WeightInfo> weights;
  llvm::StringMap<WeightPlace> weightPlaces;
  llvm::StringMap<std::vector<mlir::func::FuncOp>> iterations; ///< Private functions by name.
};

} // namespace tidegate::dsl
#endif
