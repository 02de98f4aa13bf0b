// RUN: tidegate-opt %s -rec-sink-low-rank -canonicalize -cse -split-input-file | FileCheck %s

// Queries, keys and values of rank 4 enter the scan as they are: the shared rows
// t and each head's rows of the weight. A bias needs zeros beyond the last token.

// CHECK-LABEL: func.func @linear_attention
// CHECK-SAME: %[[T:.*]]: tensor<?x?x4xf32>, %[[WK:.*]]: tensor<16x4xf32>, %[[WV:.*]]: tensor<32x4xf32>, %[[BIAS:.*]]: tensor<32xf32>, %[[Q:.*]]: tensor<?x?x2x8xf32>
// CHECK-NOT: nn.dot
// CHECK-DAG: %[[ROWS:.*]] = nn.reshape %[[T]] : tensor<?x?x4xf32> -> tensor<?x?x1x4xf32>
// CHECK-DAG: %[[HK:.*]] = nn.reshape %[[WK]] : tensor<16x4xf32> -> tensor<2x8x4xf32>
// CHECK-DAG: %[[HV:.*]] = nn.reshape %[[WV]] : tensor<32x4xf32> -> tensor<2x16x4xf32>
// CHECK-DAG: %[[HB:.*]] = nn.reshape %[[BIAS]] : tensor<32xf32> -> tensor<2x16xf32>
// CHECK: rec.scan chunk 64(%[[Q]], %[[ROWS]], %[[HK]], %[[HV]], %[[HB]], %{{.*}} : tensor<?x?x2x8xf32>, tensor<?x?x1x4xf32>, tensor<2x8x4xf32>, tensor<2x16x4xf32>, tensor<2x16xf32>, tensor<?x?x1xf32>) kinds [0, 0, 2, 2, 2, 0]
// CHECK: ^bb0(%{{.*}}: tensor<64x8xf32>, %[[TILE:.*]]: tensor<64x4xf32>, %[[OWNK:.*]]: tensor<8x4xf32>, %[[OWNV:.*]]: tensor<16x4xf32>, %[[OWNB:.*]]: tensor<16xf32>, %[[VALID:.*]]: tensor<64xf32>
// CHECK: nn.dot %[[TILE]], %[[OWNK]] contract [1] x [1]
// CHECK: %[[PRODUCT:.*]] = nn.dot %[[TILE]], %[[OWNV]] contract [1] x [1]
// CHECK: %[[SUM:.*]] = nn.add %[[PRODUCT]], %[[OWNB]]
// CHECK: nn.select %{{.*}}, %[[SUM]], %{{.*}}
func.func @linear_attention(%t: tensor<?x?x4xf32>, %wk: tensor<16x4xf32>, %wv: tensor<32x4xf32>, %b: tensor<32xf32>,
                            %q: tensor<?x?x2x8xf32>) -> tensor<?x?x2x16xf32> {
  %k1 = nn.dot %t, %wk contract [2] x [1] : tensor<?x?x4xf32>, tensor<16x4xf32>
  %k = nn.reshape %k1 : tensor<?x?x16xf32> -> tensor<?x?x2x8xf32>
  %v1 = nn.dot %t, %wv contract [2] x [1] : tensor<?x?x4xf32>, tensor<32x4xf32>
  %v2 = nn.add %v1, %b : tensor<?x?x32xf32>, tensor<32xf32>
  %v = nn.reshape %v2 : tensor<?x?x32xf32> -> tensor<?x?x2x16xf32>
  %o, %s = rec.scan chunk 64 (%q, %k, %v : tensor<?x?x2x8xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x16xf32>)
      kinds [0, 0, 0] out_kinds [0] states 1 {
  ^bb0(%qt: tensor<64x8xf32>, %kt: tensor<64x8xf32>, %vt: tensor<64x16xf32>, %S: tensor<8x16xf32>):
    %ot = nn.dot %qt, %S contract [1] x [0] : tensor<64x8xf32>, tensor<8x16xf32>
    %kv = nn.dot %kt, %vt contract [0] x [0] : tensor<64x8xf32>, tensor<64x16xf32>
    %next = nn.add %S, %kv : tensor<8x16xf32>, tensor<8x16xf32>
    rec.yield %ot, %next : tensor<64x16xf32>, tensor<8x16xf32>
  } -> tensor<?x?x2x16xf32>, tensor<?x2x8x16xf32>
  return %o : tensor<?x?x2x16xf32>
}

// -----

// A short convolution brings its last rows as a state, per head.

// CHECK-LABEL: func.func @convolution
// CHECK-NOT: nn.short_conv
// CHECK: rec.scan chunk 16(%{{.*}} : tensor<?x?x1x2xf32>, tensor<2x4x2xf32>, tensor<2x4x3xf32>, tensor<?x?x1xf32>) kinds [0, 2, 2, 0] out_kinds [0] states 2
// CHECK: ^bb0(%{{.*}}: tensor<16x2xf32>, %{{.*}}: tensor<4x2xf32>, %{{.*}}: tensor<4x3xf32>, %{{.*}}: tensor<16xf32>, %{{.*}}: tensor<4xf32>, %[[PAST:.*]]: tensor<2x4xf32>):
// CHECK: nn.pad %[[PAST]]
// CHECK: %[[NEXT:.*]] = nn.slice %{{.*}} dim 0 from 16 step 1 : tensor<18x4xf32> -> tensor<2x4xf32>
// CHECK: rec.yield %{{.*}}, %{{.*}}, %[[NEXT]]
func.func @convolution(%t: tensor<?x?x2xf32>, %w: tensor<8x2xf32>, %taps: tensor<8x3xf32>) -> tensor<?x?x2x4xf32> {
  %x = nn.dot %t, %w contract [2] x [1] : tensor<?x?x2xf32>, tensor<8x2xf32>
  %y, %next = nn.short_conv %x, %taps : tensor<?x?x8xf32>, tensor<8x3xf32>
  %k = nn.reshape %y : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %o, %s = rec.scan chunk 16 (%k : tensor<?x?x2x4xf32>) kinds [0] out_kinds [0] states 1 {
  ^bb0(%kt: tensor<16x4xf32>, %S: tensor<4xf32>):
    %ot = nn.mul %kt, %S : tensor<16x4xf32>, tensor<4xf32>
    %sum = nn.reduce_sum %kt [0] : tensor<16x4xf32>
    %one = nn.reshape %sum : tensor<1x4xf32> -> tensor<4xf32>
    %n = nn.add %S, %one : tensor<4xf32>, tensor<4xf32>
    rec.yield %ot, %n : tensor<16x4xf32>, tensor<4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4xf32>
  return %o : tensor<?x?x2x4xf32>
}

// -----

// A projection that is not of low rank stays, and so does one that is used elsewhere.

// CHECK-LABEL: func.func @stays
// CHECK-COUNT-2: nn.dot {{.*}} contract [2] x [1]
// CHECK: rec.scan chunk 16(%{{.*}}, %{{.*}} : tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) kinds [0, 0]
func.func @stays(%t: tensor<?x?x8xf32>, %r: tensor<?x?x2xf32>, %full: tensor<8x8xf32>, %low: tensor<8x2xf32>)
    -> (tensor<?x?x2x4xf32>, tensor<?x?x8xf32>) {
  %x = nn.dot %t, %full contract [2] x [1] : tensor<?x?x8xf32>, tensor<8x8xf32>
  %k = nn.reshape %x : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %y = nn.dot %r, %low contract [2] x [1] : tensor<?x?x2xf32>, tensor<8x2xf32>
  %v = nn.reshape %y : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %o, %s = rec.scan chunk 16 (%k, %v : tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) kinds [0, 0] out_kinds [0] states 1 {
  ^bb0(%kt: tensor<16x4xf32>, %vt: tensor<16x4xf32>, %S: tensor<4xf32>):
    %ot = nn.mul %kt, %vt : tensor<16x4xf32>, tensor<16x4xf32>
    rec.yield %ot, %S : tensor<16x4xf32>, tensor<4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4xf32>
  return %o, %y : tensor<?x?x2x4xf32>, tensor<?x?x8xf32>
}
