// RUN: tidegate-opt %s -rec-to-loop -canonicalize -cse -split-input-file | FileCheck %s

// A fast linear map: read, then one step of gradient ascent with a rate per token. The step of the last token only reads.

// CHECK-LABEL: func.func @fast_weights
// CHECK: rec.loop @fast_weights.step last @fast_weights.last save_states chunk 64(%arg0, %arg1, %arg2, %arg3 : {{.*}}) init(%arg4 : tensor<2x8x16xf32>)
// CHECK-SAME: kinds [0, 0, 0, 2] out_kinds [0] heads [2] states 1
// CHECK: func.func private @fast_weights.step(
// CHECK-SAME: %[[K:.*]]: tensor<?x?x16xf32>, %[[V:.*]]: tensor<?x?x8xf32>, %[[ETA:.*]]: tensor<?x?xf32>, %[[N:.*]]: tensor<?x8x1xf32>, %[[S:.*]]: tensor<?x8x16xf32>)
// CHECK: %[[O:.*]] = nn.dot %[[K]], %[[S]] batch [0] x [0] contract [2] x [2]
// CHECK: %[[RATE:.*]] = nn.reshape %[[ETA]] : tensor<?x?xf32> -> tensor<?x?x1xf32>
// CHECK: %[[RV:.*]] = nn.mul %[[RATE]], %[[V]]
// CHECK: %[[G:.*]] = nn.dot %[[RV]], %[[K]] batch [0] x [0] contract [1] x [1] : tensor<?x?x8xf32>, tensor<?x?x16xf32>
// CHECK: %[[U:.*]] = nn.add %[[S]], %[[G]] : tensor<?x8x16xf32>, tensor<?x8x16xf32>
// CHECK: %[[NEXT:.*]] = nn.mul %[[U]], %[[N]]
// CHECK: return %[[O]], %[[NEXT]]
// CHECK: func.func private @fast_weights.last(
// CHECK-SAME: %[[K:.*]]: tensor<?x?x16xf32>, {{.*}}, %[[S:.*]]: tensor<?x8x16xf32>)
// CHECK-NEXT: %[[O:.*]] = nn.dot %[[K]], %[[S]]
// CHECK-NEXT: return %[[O]], %[[S]]
func.func @fast_weights(%k: tensor<?x?x2x16xf32>, %v: tensor<?x?x2x8xf32>, %eta: tensor<?x?x2xf32>, %n: tensor<2x8x1xf32>, %w: tensor<2x8x16xf32>)
    -> (tensor<?x?x2x8xf32>, tensor<?x?x2x8x16xf32>) {
  %o, %s, %entry = rec.scan save_states chunk 64 (%k, %v, %eta, %n : tensor<?x?x2x16xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2xf32>, tensor<2x8x1xf32>)
      init(%w : tensor<2x8x16xf32>) kinds [0, 0, 0, 2] out_kinds [0] states 1 {
  ^bb0(%kt: tensor<64x16xf32>, %vt: tensor<64x8xf32>, %et: tensor<64xf32>, %nh: tensor<8x1xf32>, %S: tensor<8x16xf32>):
    %ot = nn.dot %kt, %S contract [1] x [1] : tensor<64x16xf32>, tensor<8x16xf32>
    %rate = nn.reshape %et : tensor<64xf32> -> tensor<64x1xf32>
    %rv = nn.mul %rate, %vt : tensor<64x1xf32>, tensor<64x8xf32>
    %g = nn.dot %rv, %kt contract [0] x [0] : tensor<64x8xf32>, tensor<64x16xf32>
    %u = nn.add %S, %g : tensor<8x16xf32>, tensor<8x16xf32>
    %w1 = nn.mul %u, %nh : tensor<8x16xf32>, tensor<8x1xf32>
    %next = rec.unless_last %w1, %S : tensor<8x16xf32>
    rec.yield %ot, %next : tensor<64x8xf32>, tensor<8x16xf32>
  } -> tensor<?x?x2x8xf32>, tensor<?x2x8x16xf32>, tensor<?x?x2x8x16xf32>
  return %o, %entry : tensor<?x?x2x8xf32>, tensor<?x?x2x8x16xf32>
}

// -----

// What mixes the tokens of a chunk sees them as a whole tensor; a number per chunk meets rows as a column.

// CHECK-LABEL: func.func private @mean_over_tokens.step(
// CHECK-SAME: %[[X:.*]]: tensor<?x?xf32>, %[[Y:.*]]: tensor<?x?x4xf32>)
// CHECK: %[[WHOLE:.*]] = nn.cast_rows %[[X]] : tensor<?x?xf32> -> tensor<?x64xf32>
// CHECK: %[[SUM:.*]] = nn.reduce_sum %[[WHOLE]] [1] : tensor<?x64xf32>
// CHECK: %[[COLUMN:.*]] = nn.add %{{.*}}, %{{.*}} : tensor<?x1x1xf32>, tensor<64x1xf32>
// CHECK: %[[ROWS:.*]] = nn.cast_rows %[[COLUMN]] : tensor<?x64x1xf32> -> tensor<?x?x1xf32>
// CHECK: nn.mul %[[Y]], %[[ROWS]]
func.func @mean_over_tokens(%x: tensor<?x?x2xf32>, %y: tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32> {
  %o = rec.scan chunk 64 (%x, %y : tensor<?x?x2xf32>, tensor<?x?x2x4xf32>) kinds [0, 0] out_kinds [0] states 0 {
  ^bb0(%xt: tensor<64xf32>, %yt: tensor<64x4xf32>):
    %sum = nn.reduce_sum %xt [0] : tensor<64xf32>
    %z = nn.mul %yt, %sum : tensor<64x4xf32>, tensor<1xf32>
    rec.yield %z : tensor<64x4xf32>
  } -> tensor<?x?x2x4xf32>
  return %o : tensor<?x?x2x4xf32>
}

// -----

// A state that starts anew at zero whatever was before: for each batch row and head.

// CHECK-LABEL: func.func private @constant_state.step(
// CHECK-SAME: %[[X:.*]]: tensor<?x?x4xf32>, %[[S:.*]]: tensor<?x4x4xf32>)
// CHECK: nn.slice %[[S]]
// CHECK: %[[ZEROS:.*]] = nn.select %{{.*}}, %{{.*}}, %{{.*}} : tensor<f32>, tensor<4x4xf32>, tensor<?x1x1xf32>
// CHECK: return %{{.*}}, %[[ZEROS]] : tensor<?x?x4xf32>, tensor<?x4x4xf32>
func.func @constant_state(%x: tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32> {
  %o, %s = rec.scan chunk 64 (%x : tensor<?x?x2x4xf32>) kinds [0] out_kinds [0] states 1 {
  ^bb0(%xt: tensor<64x4xf32>, %S: tensor<4x4xf32>):
    %ot = nn.dot %xt, %S contract [1] x [0] : tensor<64x4xf32>, tensor<4x4xf32>
    %zeros = nn.constant 0.0 : tensor<4x4xf32>
    %next = rec.unless_last %zeros, %S : tensor<4x4xf32>
    rec.yield %ot, %next : tensor<64x4xf32>, tensor<4x4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4x4xf32>
  return %o : tensor<?x?x2x4xf32>
}

// -----

// Chunk scans of recurrences and token scans stay.

// CHECK-LABEL: func.func @recurrence
// CHECK: rec.scan chunk 64
// CHECK-NOT: rec.loop
func.func @recurrence(%k: tensor<?x?x2x16xf32>) -> tensor<?x?x2x16xf32> {
  %o = rec.scan chunk 64 (%k : tensor<?x?x2x16xf32>) kinds [0] out_kinds [0] states 0 {
  ^bb0(%kt: tensor<64x16xf32>):
    %p = rec.decay_scores %kt, %kt at [1] x [0] : (tensor<64x16xf32>, tensor<64x16xf32>) -> tensor<64x64xf32>
    %ot = nn.dot %p, %kt contract [1] x [0] : tensor<64x64xf32>, tensor<64x16xf32>
    rec.yield %ot : tensor<64x16xf32>
  } -> tensor<?x?x2x16xf32>
  return %o : tensor<?x?x2x16xf32>
}
