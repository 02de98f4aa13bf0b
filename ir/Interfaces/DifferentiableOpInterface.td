//===- DifferentiableOpInterface.td - Ops with an adjoint --*- tablegen -*-===//
#ifndef TIDEGATE_DIFFERENTIABLE_OP_INTERFACE
#define TIDEGATE_DIFFERENTIABLE_OP_INTERFACE

include "mlir/IR/OpBase.td"

def DifferentiableOpInterface : OpInterface<"DifferentiableOpInterface"> {
  let cppNamespace = "::tidegate";
  let description = [{
    An op that can write down its own adjoint (vector-Jacobian product) in
    terms of differentiable ops, so that gradients nest.
  }];
  let methods = [
    InterfaceMethod<[{
        Builds, at the builder's position, the cotangents of the operands.

        `resultCotangents` has one value per result, null where it is zero, and
        at least one that is not null. `operandCotangents` has one entry per
        operand, null on entry; an entry that stays null means zero. A
        cotangent has the type of its operand. The op's own operands and
        results may be used.
      }],
      "void", "buildAdjoint",
      (ins "::mlir::OpBuilder &":$builder, "::llvm::ArrayRef<::mlir::Value>":$resultCotangents,
           "::llvm::MutableArrayRef<::mlir::Value>":$operandCotangents)>,
    InterfaceMethod<[{
        True if the backward should keep the op's results rather than compute
        them again: products, scans, lookups.
      }],
      "bool", "isWorthSaving", (ins), [{}], [{ return false; }]>
  ];
}

#endif
