// RUN: tidegate-opt %s -autodiff=functions=f | FileCheck %s

// In a chunk the gradient of a decay multiplies with the product that the forward made, not with its factors: in half
// precision both then have the same rounding. With x = k e^g, dg = dx x.

// CHECK-LABEL: func.func private @f.bwd(
// CHECK:         rec.scan reverse
// CHECK-NEXT:    ^bb0(%[[K:.*]]: tensor<8x4xf64>, %[[G:.*]]: tensor<8x4xf64>, %{{.*}}: tensor<8x4xf64>):
// CHECK-NEXT:      %[[E:.*]] = nn.exp %[[G]]
// CHECK-NEXT:      %[[X:.*]] = nn.mul %[[K]], %[[E]]
// CHECK:           %[[DX:.*]] = nn.add
// CHECK-NEXT:      %[[DK:.*]] = nn.mul %[[DX]], %[[E]]
// CHECK-NEXT:      %[[DG:.*]] = nn.mul %[[DX]], %[[X]]
// CHECK-NEXT:      rec.yield %[[DK]], %[[DG]]
func.func @f(%k: tensor<?x?x2x4xf64>, %g: tensor<?x?x2x4xf64>) -> tensor<?x?x2x4xf64> {
  %o = rec.scan chunk 8 (%k, %g : tensor<?x?x2x4xf64>, tensor<?x?x2x4xf64>) kinds [0, 0] out_kinds [0] states 0 {
  ^bb0(%kc: tensor<8x4xf64>, %gc: tensor<8x4xf64>):
    %e = nn.exp %gc : tensor<8x4xf64>
    %x = nn.mul %kc, %e : tensor<8x4xf64>, tensor<8x4xf64>
    %y = nn.mul %x, %x : tensor<8x4xf64>, tensor<8x4xf64>
    rec.yield %y : tensor<8x4xf64>
  } -> tensor<?x?x2x4xf64>
  return %o : tensor<?x?x2x4xf64>
}
