//===- Ast.h - The program as written ---------------------------*- C++ -*-===//
// Plain structs; every node keeps its source range. Nodes are owned by the
// SourceFile in one flat list, so a deep tree is destroyed without recursion.
//===----------------------------------------------------------------------===//
#ifndef TIDEGATE_FRONTENDS_DSL_AST_H
#define TIDEGATE_FRONTENDS_DSL_AST_H

#include "frontends/dsl/Diagnostics.h"
#include "frontends/dsl/Number.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/Casting.h"

namespace tidegate::dsl {

struct Node {
  virtual ~Node() = default;
  Range range;
};

/// A name with the place where it stands.
struct Ident {
  llvm::StringRef text;
  Range range;
};

//===----------------------------------------------------------------------===//
// Expressions
//===----------------------------------------------------------------------===//

enum class ExprKind { Number, String, Bool, Name, Unary, Binary, Call, Index, Error };
enum class UnaryOp { Negate, Not };
enum class BinaryOp {
  Add, Sub, Mul, Div, Mod, Contract,
  Equal, NotEqual, Less, LessEqual, Greater, GreaterEqual,
  And, Or,
};

/// The operator as it is written.
llvm::StringRef spelling(BinaryOp op);

struct Expr : Node {
  ExprKind kind;
  unsigned depth = 1; ///< Height of the tree, bounded by the parser.
  explicit Expr(ExprKind kind) : kind(kind) {}
};

struct NumberExpr : Expr {
  Number value;
  NumberExpr() : Expr(ExprKind::Number) {}
  static bool classof(const Expr *e) { return e->kind == ExprKind::Number; }
};

struct StringExpr : Expr {
  llvm::StringRef value;
  StringExpr() : Expr(ExprKind::String) {}
  static bool classof(const Expr *e) { return e->kind == ExprKind::String; }
};

struct BoolExpr : Expr {
  bool value = false;
  BoolExpr() : Expr(ExprKind::Bool) {}
  static bool classof(const Expr *e) { return e->kind == ExprKind::Bool; }
};

struct NameExpr : Expr {
  llvm::StringRef name;
  NameExpr() : Expr(ExprKind::Name) {}
  static bool classof(const Expr *e) { return e->kind == ExprKind::Name; }
};

struct UnaryExpr : Expr {
  UnaryOp op = UnaryOp::Negate;
  Expr *operand = nullptr;
  UnaryExpr() : Expr(ExprKind::Unary) {}
  static bool classof(const Expr *e) { return e->kind == ExprKind::Unary; }
};

struct BinaryExpr : Expr {
  BinaryOp op = BinaryOp::Add;
  Expr *lhs = nullptr, *rhs = nullptr;
  Range opRange;
  BinaryExpr() : Expr(ExprKind::Binary) {}
  static bool classof(const Expr *e) { return e->kind == ExprKind::Binary; }
};

/// One segment of a weight path: text, followed by indices: `layers[i]`.
struct PathSegment {
  llvm::StringRef text;
  llvm::SmallVector<Expr *, 1> indices;
};

struct Path {
  std::vector<PathSegment> segments;
  Range range;
  bool empty() const { return segments.empty(); }
};

struct CallArg {
  Ident name; ///< Empty text for a positional argument.
  Expr *value = nullptr;
};

struct CallExpr : Expr {
  Ident callee;
  std::vector<CallArg> args;
  Path path; ///< After `as`.
  CallExpr() : Expr(ExprKind::Call) {}
  static bool classof(const Expr *e) { return e->kind == ExprKind::Call; }
};

struct IndexExpr : Expr {
  Expr *base = nullptr;
  std::vector<Expr *> indices;
  IndexExpr() : Expr(ExprKind::Index) {}
  static bool classof(const Expr *e) { return e->kind == ExprKind::Index; }
};

/// Stands where the parser has reported an error.
struct ErrorExpr : Expr {
  ErrorExpr() : Expr(ExprKind::Error) {}
  static bool classof(const Expr *e) { return e->kind == ExprKind::Error; }
};

//===----------------------------------------------------------------------===//
// Statements
//===----------------------------------------------------------------------===//

enum class StmtKind { Assign, Return, If, Repeat, Weight, State, Scan };

struct Stmt : Node {
  StmtKind kind;
  explicit Stmt(StmtKind kind) : kind(kind) {}
};

struct Block {
  std::vector<Stmt *> stmts;
  Range range; ///< From `{` to `}`.
};

/// `[..., T, H*K] int`
struct ShapeType {
  bool ellipsis = false;
  bool isInt = false;
  std::vector<Expr *> dims;
  Range range;
};

/// `o` or, in a scan, `o[t, h]`.
struct Target {
  Ident name;
  std::vector<Expr *> indices;
  Range range;
};

struct AssignStmt : Stmt {
  std::vector<Target> targets;
  Expr *value = nullptr;
  AssignStmt() : Stmt(StmtKind::Assign) {}
  static bool classof(const Stmt *s) { return s->kind == StmtKind::Assign; }
};

struct ReturnStmt : Stmt {
  std::vector<Expr *> values;
  ReturnStmt() : Stmt(StmtKind::Return) {}
  static bool classof(const Stmt *s) { return s->kind == StmtKind::Return; }
};

struct IfStmt : Stmt {
  Expr *condition = nullptr;
  Block thenBlock, elseBlock;
  bool hasElse = false;
  IfStmt() : Stmt(StmtKind::If) {}
  static bool classof(const Stmt *s) { return s->kind == StmtKind::If; }
};

struct RepeatStmt : Stmt {
  Ident variable;
  Expr *count = nullptr;
  Block body;
  RepeatStmt() : Stmt(StmtKind::Repeat) {}
  static bool classof(const Stmt *s) { return s->kind == StmtKind::Repeat; }
};

struct WeightStmt : Stmt {
  Ident name;
  ShapeType type;
  Expr *init = nullptr;
  Expr *decay = nullptr; ///< Null: weight decay applies.
  WeightStmt() : Stmt(StmtKind::Weight) {}
  static bool classof(const Stmt *s) { return s->kind == StmtKind::Weight; }
};

struct StateStmt : Stmt {
  Ident name;
  ShapeType type;
  Expr *init = nullptr; ///< Null: zero.
  StateStmt() : Stmt(StmtKind::State) {}
  static bool classof(const Stmt *s) { return s->kind == StmtKind::State; }
};

/// `scan over t, h in H { ... }`, `scan over chunks c of C, h in H { ... }`
struct ScanStmt : Stmt {
  Ident time;
  Expr *chunk = nullptr; ///< Tokens of a chunk; null: the scan walks tokens.
  Ident head; ///< Empty text: no heads.
  Expr *headCount = nullptr;
  Range headRange; ///< The `scan over ...` line, for messages.
  Block body;
  ScanStmt() : Stmt(StmtKind::Scan) {}
  static bool classof(const Stmt *s) { return s->kind == StmtKind::Scan; }
};

//===----------------------------------------------------------------------===//
// Items
//===----------------------------------------------------------------------===//

struct ParamDecl {
  Ident name;
  Expr *value = nullptr;
};

/// An argument with a type is a tensor, one without is known when compiling.
struct Argument {
  Ident name;
  bool isTensor = false;
  ShapeType type;
  Expr *defaultValue = nullptr;
  Range range;
};

enum class FunctionKind { Fn, Layer, Model };
llvm::StringRef spelling(FunctionKind kind);

struct Function : Node {
  FunctionKind kind = FunctionKind::Fn;
  Ident name;
  std::vector<Argument> args;
  std::vector<ShapeType> results; ///< Empty: not stated.
  Block body;
  bool inLibrary = false; ///< Comes from std.tg.
  bool isBroken = false;  ///< Its signature has been reported; calls of it are not checked.
  /// Words of statements that could not be read: names that may be known.
  std::vector<llvm::StringRef> lost;
};

struct ImportDecl {
  llvm::StringRef path;
  Range range;
};

/// One parsed file and the owner of its nodes.
struct SourceFile {
  llvm::StringRef text;
  std::vector<ImportDecl> imports;
  std::vector<ParamDecl> params;
  std::vector<Function *> functions;
  std::vector<std::unique_ptr<Node>> nodes;
};

} // namespace tidegate::dsl
#endif
