// RUN: tidegate-opt %s -rec-narrow-values=elements=512 -split-input-file | FileCheck %s

// A state of 16 x 64 is two of 16 x 32: values and outputs have twice the heads, keys and queries stay and are shared.

// CHECK-LABEL: func.func @two_slabs
// CHECK-SAME: %[[Q:.*]]: tensor<?x?x2x16xf32>, %[[K:.*]]: tensor<?x?x2x16xf32>, %[[V:.*]]: tensor<?x?x2x64xf32>
// CHECK: %[[NARROW:.*]] = nn.reshape %[[V]] : tensor<?x?x2x64xf32> -> tensor<?x?x4x32xf32>
// CHECK: %[[O:.*]]:2 = rec.scan chunk 64(%[[Q]], %[[K]], %[[NARROW]] : tensor<?x?x2x16xf32>, tensor<?x?x2x16xf32>, tensor<?x?x4x32xf32>)
// CHECK: ^bb0(%{{.*}}: tensor<64x16xf32>, %{{.*}}: tensor<64x16xf32>, %{{.*}}: tensor<64x32xf32>, %{{.*}}: tensor<16x32xf32>)
// CHECK: nn.reshape %[[O]]#0 : tensor<?x?x4x32xf32> -> tensor<?x?x2x64xf32>
func.func @two_slabs(%q: tensor<?x?x2x16xf32>, %k: tensor<?x?x2x16xf32>, %v: tensor<?x?x2x64xf32>)
    -> tensor<?x?x2x64xf32> {
  %o, %s = rec.scan chunk 64 (%q, %k, %v : tensor<?x?x2x16xf32>, tensor<?x?x2x16xf32>, tensor<?x?x2x64xf32>)
      kinds [0, 0, 0] out_kinds [0] states 1 {
  ^bb0(%qt: tensor<64x16xf32>, %kt: tensor<64x16xf32>, %vt: tensor<64x64xf32>, %S: tensor<16x64xf32>):
    %ot = nn.dot %qt, %S contract [1] x [0] : tensor<64x16xf32>, tensor<16x64xf32>
    %kv = nn.dot %kt, %vt contract [0] x [0] : tensor<64x16xf32>, tensor<64x64xf32>
    %next = nn.add %S, %kv : tensor<16x64xf32>, tensor<16x64xf32>
    rec.yield %ot, %next : tensor<64x64xf32>, tensor<16x64xf32>
  } -> tensor<?x?x2x64xf32>, tensor<?x2x16x64xf32>
  return %o : tensor<?x?x2x64xf32>
}

// -----

// Columns that meet stay together: here the output sums over them.

// CHECK-LABEL: func.func @columns_meet
// CHECK-NOT: nn.reshape
// CHECK: tensor<16x64xf32>)
func.func @columns_meet(%k: tensor<?x?x2x16xf32>, %v: tensor<?x?x2x64xf32>) -> tensor<?x?x2x16xf32> {
  %o, %s = rec.scan chunk 64 (%k, %v : tensor<?x?x2x16xf32>, tensor<?x?x2x64xf32>)
      kinds [0, 0] out_kinds [0] states 1 {
  ^bb0(%kt: tensor<64x16xf32>, %vt: tensor<64x64xf32>, %S: tensor<16x64xf32>):
    %ot = nn.dot %vt, %S contract [1] x [1] : tensor<64x64xf32>, tensor<16x64xf32>
    %kv = nn.dot %kt, %vt contract [0] x [0] : tensor<64x16xf32>, tensor<64x64xf32>
    %next = nn.add %S, %kv : tensor<16x64xf32>, tensor<16x64xf32>
    rec.yield %ot, %next : tensor<64x16xf32>, tensor<16x64xf32>
  } -> tensor<?x?x2x16xf32>, tensor<?x2x16x64xf32>
  return %o : tensor<?x?x2x16xf32>
}
