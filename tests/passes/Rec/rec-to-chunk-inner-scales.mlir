// RUN: tidegate-opt %s "-rec-to-chunk=chunk=64 narrow-chunk=16 inner-scales" -canonicalize -cse | FileCheck %s

// The rate and the number over the read are applied to tiles: no tensor holds beta k,
// and none the scaled output. Keys are narrow, so the chunk is short.

// CHECK-LABEL: func.func @delta_rule(
// CHECK-SAME:    %[[BETA:[^:]*]]: tensor<?x?x2xf32>, %[[K:[^:]*]]: tensor<?x?x2x4xf32>, %[[V:[^:]*]]: tensor<?x?x2x8xf32>, %[[Q:[^:]*]]: tensor<?x?x2x4xf32>
// CHECK:         %[[RATE:.*]] = nn.reshape %[[BETA]] : tensor<?x?x2xf32> -> tensor<?x?x2x1xf32>
// CHECK-NOT:     nn.mul
// CHECK:         %[[O:.*]]:2 = rec.scan chunk 16(%[[Q]], %[[K]], %[[RATE]], %[[V]] :
// CHECK:         ^bb0(%[[QT:.*]]: tensor<16x4xf32>, %[[KT:.*]]: tensor<16x4xf32>, %[[BT:.*]]: tensor<16x1xf32>,
// CHECK-DAG:       %[[HALF:.*]] = nn.constant 5.0
// CHECK-DAG:       nn.mul %[[QT]], %[[HALF]]
// CHECK-DAG:       nn.mul %[[BT]], %[[KT]]
// CHECK:         return %[[O]]#0
func.func @delta_rule(%beta: tensor<?x?x2xf32>, %k: tensor<?x?x2x4xf32>, %v: tensor<?x?x2x8xf32>,
                      %q: tensor<?x?x2x4xf32>) -> tensor<?x?x2x8xf32> {
  %o, %s = rec.scan chunk 1 (%beta, %k, %v, %q : tensor<?x?x2xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x4xf32>)
      kinds [0, 0, 0, 0] out_kinds [0] states 1 {
  ^bb0(%b: tensor<f32>, %kt: tensor<4xf32>, %vt: tensor<8xf32>, %qt: tensor<4xf32>, %S: tensor<4x8xf32>):
    %bk = nn.mul %b, %kt : tensor<f32>, tensor<4xf32>
    %r = nn.dot %kt, %S contract [0] x [0] : tensor<4xf32>, tensor<4x8xf32>
    %e = nn.sub %vt, %r : tensor<8xf32>, tensor<8xf32>
    %u = nn.dot %bk, %e contract [] x [] : tensor<4xf32>, tensor<8xf32>
    %next = nn.add %S, %u : tensor<4x8xf32>, tensor<4x8xf32>
    %ot = nn.dot %qt, %next contract [0] x [0] : tensor<4xf32>, tensor<4x8xf32>
    %half = nn.constant 0.5 : tensor<f32>
    %os = nn.mul %ot, %half : tensor<8xf32>, tensor<f32>
    rec.yield %os, %next : tensor<8xf32>, tensor<4x8xf32>
  } -> tensor<?x?x2x8xf32>, tensor<?x2x4x8xf32>
  return %o : tensor<?x?x2x8xf32>
}
