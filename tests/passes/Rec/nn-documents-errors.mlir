// RUN: tidegate-opt %s --nn-documents -split-input-file -verify-diagnostics

// expected-error @below {{expects its argument 'positions' to be the places of tokens in their documents, 'tensor<?x?xi32>', but it has type 'tensor<?x?xf32>'}}
func.func @model(%p: tensor<?x?xf32> {nn.name = "positions"}) -> tensor<?x?xf32> {
  return %p : tensor<?x?xf32>
}

// -----

func.func @static_sizes(%x: tensor<2x8x1x4xf32>) -> tensor<2x1x4xf32> {
  // expected-error @below {{expects B and T that are known at run time where documents are packed, but its first operand has type 'tensor<2x8x1x4xf32>'}}
  %s = rec.scan chunk 1 (%x : tensor<2x8x1x4xf32>) kinds [0] out_kinds [] states 1 {
  ^bb0(%xt: tensor<4xf32>, %s: tensor<4xf32>):
    %next = nn.add %s, %xt : tensor<4xf32>, tensor<4xf32>
    rec.yield %next : tensor<4xf32>
  } -> tensor<2x1x4xf32>
  return %s : tensor<2x1x4xf32>
}
