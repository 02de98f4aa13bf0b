//===- AffineForm.h - Values as affine functions of the state ---*- C++ -*-===//
#pragma once

#include "passes/Rec/Arithmetic.h"
#include "passes/Rec/Events.h"
#include "llvm/ADT/DenseMap.h"

namespace tidegate::rec {

/// What a value of a token body is in terms of the state. Versions number the
/// states of a token in order: 0 is the one at its entry.
struct AffineForm {
  /// factor (.) S_version^T reader, a vector over V.
  struct Term {
    mlir::Value reader; ///< [K]
    unsigned version;
    mlir::Value factor; ///< [V], null for one.
  };
  /// constant + sum of terms, over V.
  struct Vector {
    mlir::Value constant; ///< [V], null for zero.
    llvm::SmallVector<Term> terms;
  };
  /// diag(decay) S_version diag(valueDecay)
  struct Base {
    mlir::Value decay; ///< [K] or [1], null for one.
    unsigned version;
    mlir::Value valueDecay; ///< [V], null for one.
  };
  /// key value^T
  struct Outer {
    mlir::Value key; ///< [K]
    Vector value;
  };
  /// Sum of bases and outer products, K x V.
  struct Matrix {
    llvm::SmallVector<Base, 1> bases;
    llvm::SmallVector<Outer> outers;
  };

  enum Kind {
    Free,     ///< Does not depend on the state.
    IsVector, ///< An affine vector over V.
    IsMatrix, ///< An affine matrix.
    Other,    ///< Depends on the state in a way that no event can use.
  };
  Kind kind = Free;
  Vector vector;
  Matrix matrix;
  Refusal refusal;         ///< Of `Other`: the first op that left the form.
  bool isAfterReads = true; ///< Of `Other`: needs the state only through reads.
};

/// Finds the forms of values, op by op in the order of the body.
class AffineReader {
public:
  /// `keyDim` is the dimension of the state that is taken as K.
  AffineReader(ScanOp scan, int64_t keyDim);

  const AffineForm &formOf(mlir::Value value) const;
  void setForm(mlir::Value value, AffineForm form) { forms[value] = std::move(form); }
  /// Sets the forms of the op's results from those of its operands.
  void read(mlir::Operation &op);

  AffineForm::Vector scaled(const AffineForm::Vector &x, mlir::Value scalar);
  AffineForm::Vector scaledByValue(AffineForm::Vector x, mlir::Value value);
  AffineForm::Vector sum(AffineForm::Vector x, const AffineForm::Vector &y);
  Arithmetic at(mlir::Location loc) { return Arithmetic(builder, loc); }

  int64_t keyDim, keys, values;

private:
  using Vector = AffineForm::Vector;
  using Matrix = AffineForm::Matrix;
  /// How a state-free factor or summand lies on the K x V plane.
  enum class Part { Scalar, Key, Value, Full, Outside };

  Part partOf(mlir::Value value);
  mlir::Value asKey(mlir::Value value, Part part);   ///< To [K] or [1].
  mlir::Value asValue(mlir::Value value);            ///< To [V], repeated if scalar.
  bool isFree(mlir::Value value) const { return formOf(value).kind == AffineForm::Free; }

  AffineForm readUnary(mlir::Operation &op);
  AffineForm readSum(mlir::Operation &op, bool isDifference);
  AffineForm readProduct(mlir::Operation &op);
  AffineForm readQuotient(mlir::Operation &op);
  AffineForm readDot(nn::DotOp op);
  AffineForm readStateDot(nn::DotOp op, bool stateIsLhs);
  AffineForm scaledForm(mlir::Operation &op, mlir::Value whole, mlir::Value factor);
  AffineForm scaledMatrix(mlir::Operation &op, const Matrix &matrix, mlir::Value factor);

  Matrix scaledByKey(const Matrix &x, mlir::Value key);
  Matrix scaledByValue(Matrix x, mlir::Value value);
  Matrix negated(Matrix x);
  Vector negated(Vector x);
  Matrix sum(Matrix x, const Matrix &y);
  Vector readMatrix(const Matrix &x, mlir::Value query);
  /// A value on the K x V plane as a sum of outer products, if it is written as one.
  std::optional<Matrix> asMatrix(mlir::Value value);
  std::optional<Matrix> decompose(mlir::Value value);

  AffineForm refuse(mlir::Operation &op, const llvm::Twine &what, bool isAffine);
  AffineForm refuseDegreeTwo(mlir::Operation &op);
  static AffineForm of(Vector vector);
  static AffineForm of(Matrix matrix);

  ScanOp scan;
  mlir::OpBuilder builder;
  mlir::Location loc; ///< Of the op being read.
  mlir::Type element;
  llvm::SmallVector<int64_t> shape; ///< Of the state.
  llvm::DenseMap<mlir::Value, AffineForm> forms;
  AffineForm free;
};

} // namespace tidegate::rec
