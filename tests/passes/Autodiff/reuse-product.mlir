// RUN: tidegate-opt %s -autodiff=functions=f,sum | FileCheck %s

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

// One gate a row, of two products: each sum over the row is of dx x.
// CHECK-LABEL: func.func private @sum.bwd(
// CHECK:         rec.scan reverse
// CHECK-NEXT:    ^bb0(%[[Q:[^:]*]]: tensor<8x4xf64>, %[[K:[^:]*]]: tensor<8x4xf64>, %[[G:[^:]*]]: tensor<8x1xf64>,
// CHECK:           %[[E:.*]] = nn.exp %[[G]]
// CHECK-DAG:       %[[QE:.*]] = nn.mul %[[Q]], %[[E]]
// CHECK-DAG:       %[[KE:.*]] = nn.mul %[[K]], %[[E]]
// CHECK-DAG:       nn.mul %{{.*}}, %[[QE]]
// CHECK-DAG:       nn.mul %{{.*}}, %[[KE]]
// CHECK-NOT:       nn.mul %{{.*}}, %[[E]] : tensor<8x1xf64>, tensor<8x1xf64>
// CHECK:           rec.yield
func.func @sum(%q: tensor<?x?x2x4xf64>, %k: tensor<?x?x2x4xf64>, %g: tensor<?x?x2x1xf64>) -> tensor<?x?x2x4xf64> {
  %o = rec.scan chunk 8 (%q, %k, %g : tensor<?x?x2x4xf64>, tensor<?x?x2x4xf64>, tensor<?x?x2x1xf64>) kinds [0, 0, 0] out_kinds [0] states 0 {
  ^bb0(%qc: tensor<8x4xf64>, %kc: tensor<8x4xf64>, %gc: tensor<8x1xf64>):
    %e = nn.exp %gc : tensor<8x1xf64>
    %qe = nn.mul %qc, %e : tensor<8x4xf64>, tensor<8x1xf64>
    %ke = nn.mul %kc, %e : tensor<8x4xf64>, tensor<8x1xf64>
    %y = nn.mul %qe, %ke : tensor<8x4xf64>, tensor<8x4xf64>
    rec.yield %y : tensor<8x4xf64>
  } -> tensor<?x?x2x4xf64>
  return %o : tensor<?x?x2x4xf64>
}
