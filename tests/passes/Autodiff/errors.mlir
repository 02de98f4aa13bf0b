// RUN: tidegate-opt %s -split-input-file -verify-diagnostics -autodiff

// expected-error @below {{calls itself, and recursion has no gradient}}
func.func @recursion(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = call @other(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}
// expected-note @below {{the call is in 'other'}}
func.func private @other(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = call @recursion(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

// expected-error @below {{expects a body of one block to differentiate, but got 0}}
func.func private @external(%x: tensor<4xf32>) -> tensor<4xf32>
func.func @callee_without_body(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = call @external(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

func.func @op_without_adjoint(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  // expected-error @below {{has no adjoint}}
  %y = nn.map rows 1 (%x) operand_rows [true] result_rows [true] {
  ^bb0(%a: tensor<4xf32>):
    nn.yield %a : tensor<4xf32>
  } : (tensor<?x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

func.func @op_without_adjoint_in_scan(%k: tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32> {
  // expected-note @below {{in the body of this scan}}
  %o = rec.scan chunk 1 (%k : tensor<?x?x2x4xf32>) kinds [0] out_kinds [0] states 0 {
  ^bb0(%kt: tensor<4xf32>):
    // expected-error @below {{has no adjoint}}
    %m = nn.map rows 0 (%kt) operand_rows [false] result_rows [true] {
    ^bb0(%a: tensor<4xf32>):
      nn.yield %a : tensor<4xf32>
    } : (tensor<4xf32>) -> tensor<4xf32>
    rec.yield %m : tensor<4xf32>
  } -> tensor<?x?x2x4xf32>
  return %o : tensor<?x?x2x4xf32>
}

// -----

// expected-error @below {{needs the name 'taken.fwd' for its gradient, but it is taken}}
func.func @taken(%x: tensor<4xf32>) -> tensor<4xf32> {
  return %x : tensor<4xf32>
}
// expected-note @below {{by this definition}}
func.func private @taken.fwd(%x: tensor<4xf32>) -> tensor<4xf32> {
  return %x : tensor<4xf32>
}
