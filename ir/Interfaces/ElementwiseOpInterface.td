//===- ElementwiseOpInterface.td - Ops made of one scalar rule -*- tablegen -*-===//
#ifndef TIDEGATE_ELEMENTWISE_OP_INTERFACE
#define TIDEGATE_ELEMENTWISE_OP_INTERFACE

include "mlir/IR/OpBase.td"

def ElementwiseOpInterface : OpInterface<"ElementwiseOpInterface"> {
  let cppNamespace = "::tidegate";
  let description = [{
    An op with one result whose every element is one scalar function of the
    operands' elements at the broadcast position.
  }];
  let methods = [
    InterfaceMethod<[{
        Emits the scalar function with `arith` and `math` ops; `operands` holds
        one scalar per operand.
      }],
      "::mlir::Value", "buildScalar",
      (ins "::mlir::OpBuilder &":$builder, "::mlir::Location":$loc, "::mlir::ValueRange":$operands)>
  ];
}

#endif
