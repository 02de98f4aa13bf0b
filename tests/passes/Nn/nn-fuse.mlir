// RUN: tidegate-opt %s --nn-fuse --split-input-file | FileCheck %s

// CHECK-LABEL: func.func @norm_is_one_map
// CHECK-SAME: (%[[X:.*]]: tensor<?x?x8xf32>, %[[W:.*]]: tensor<8xf32>)
// CHECK-NEXT: %[[M:.*]] = nn.map rows 2(%[[X]], %[[W]]) operand_rows [true, false] result_rows [true]
// CHECK-NEXT: ^bb0(%[[A:.*]]: tensor<8xf32>, %[[B:.*]]: tensor<8xf32>):
// CHECK: nn.reduce_sum %{{.*}} [0] : tensor<8xf32>
// CHECK: nn.rsqrt %{{.*}} : tensor<1xf32>
// CHECK: nn.yield
// CHECK: return %[[M]]
func.func @norm_is_one_map(%x: tensor<?x?x8xf32>, %w: tensor<8xf32>) -> tensor<?x?x8xf32> {
  %n = nn.constant 1.250000e-01 : tensor<f32>
  %eps = nn.constant 1.000000e-06 : tensor<f32>
  %sq = nn.mul %x, %x : tensor<?x?x8xf32>, tensor<?x?x8xf32>
  %s = nn.reduce_sum %sq [2] : tensor<?x?x8xf32>
  %m = nn.mul %s, %n : tensor<?x?x1xf32>, tensor<f32>
  %e = nn.add %m, %eps : tensor<?x?x1xf32>, tensor<f32>
  %r = nn.rsqrt %e : tensor<?x?x1xf32>
  %y = nn.mul %x, %r : tensor<?x?x8xf32>, tensor<?x?x1xf32>
  %z = nn.mul %y, %w : tensor<?x?x8xf32>, tensor<8xf32>
  return %z : tensor<?x?x8xf32>
}

// -----

// The sum is added to what is left of 8 columns after the row dimensions go.
// CHECK-LABEL: func.func @sum_over_rows_is_a_summed_result
// CHECK: %[[M:.*]]:2 = nn.map rows 2(%{{.*}}, %{{.*}}) operand_rows [true, true] result_rows [true, false]
// CHECK: %[[P:.*]] = nn.mul
// CHECK: nn.yield %[[P]], %[[P]]
// CHECK-NOT: nn.reshape
// CHECK: return %[[M]]#0, %[[M]]#1 : tensor<?x?x8xf32>, tensor<8xf32>
func.func @sum_over_rows_is_a_summed_result(%x: tensor<?x?x8xf32>, %dy: tensor<?x?x8xf32>)
    -> (tensor<?x?x8xf32>, tensor<8xf32>) {
  %p = nn.mul %x, %dy : tensor<?x?x8xf32>, tensor<?x?x8xf32>
  %s = nn.reduce_sum %p [0, 1] : tensor<?x?x8xf32>
  %w = nn.reshape %s : tensor<1x1x8xf32> -> tensor<8xf32>
  return %p, %w : tensor<?x?x8xf32>, tensor<8xf32>
}

// -----

// CHECK-LABEL: func.func @sum_over_rows_and_columns
// CHECK: %[[M:.*]] = nn.map rows 1(%{{.*}}) operand_rows [true] result_rows [false]
// CHECK: nn.reduce_sum %{{.*}} [0] : tensor<8xf32>
// CHECK: -> tensor<1xf32>
// CHECK: nn.reshape %[[M]] : tensor<1xf32> -> tensor<f32>
func.func @sum_over_rows_and_columns(%g: tensor<?x8xf32>) -> tensor<f32> {
  %sq = nn.mul %g, %g : tensor<?x8xf32>, tensor<?x8xf32>
  %s = nn.reduce_sum %sq [0, 1] : tensor<?x8xf32>
  %r = nn.reshape %s : tensor<1x1xf32> -> tensor<f32>
  return %r : tensor<f32>
}

// -----

// What depends on a sum over rows runs after it, and reads the rows again.
// CHECK-LABEL: func.func @sum_splits_its_consumers
// CHECK: %[[S:.*]] = nn.map rows 1(%[[X:.*]]) operand_rows [true] result_rows [false]
// CHECK: %[[R:.*]] = nn.reshape %[[S]] : tensor<8xf32> -> tensor<1x8xf32>
// CHECK: nn.map rows 1(%[[X]], %[[R]]) operand_rows [true, false] result_rows [true]
// CHECK: nn.exp
// CHECK: nn.div
// CHECK-NOT: nn.map
func.func @sum_splits_its_consumers(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %e = nn.exp %x : tensor<?x8xf32>
  %s = nn.reduce_sum %e [0] : tensor<?x8xf32>
  %y = nn.div %e, %s : tensor<?x8xf32>, tensor<1x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// CHECK-LABEL: func.func @product_is_a_barrier
// CHECK: %[[A:.*]] = nn.map rows 2(%{{.*}}) {{.*}}
// CHECK: nn.exp
// CHECK: %[[D:.*]] = nn.dot %[[A]]
// CHECK: nn.map rows 2(%[[D]], %[[A]])
// CHECK: nn.add
// CHECK: return
func.func @product_is_a_barrier(%x: tensor<?x?x8xf32>, %w: tensor<8x8xf32>) -> tensor<?x?x8xf32> {
  %e = nn.exp %x : tensor<?x?x8xf32>
  %d = nn.dot %e, %w contract [2] x [1] : tensor<?x?x8xf32>, tensor<8x8xf32>
  %y = nn.add %d, %e : tensor<?x?x8xf32>, tensor<?x?x8xf32>
  return %y : tensor<?x?x8xf32>
}

// -----

// A reshape between barriers is free and stays.
// CHECK-LABEL: func.func @reshape_between_barriers_stays
// CHECK-NOT: nn.map
// CHECK: %[[D:.*]] = nn.dot
// CHECK: %[[R:.*]] = nn.reshape %[[D]]
// CHECK: nn.dot %[[R]]
func.func @reshape_between_barriers_stays(%x: tensor<?x?x8xf32>, %w: tensor<8x8xf32>, %u: tensor<4xf32>)
    -> tensor<?x?x2xf32> {
  %d = nn.dot %x, %w contract [2] x [1] : tensor<?x?x8xf32>, tensor<8x8xf32>
  %r = nn.reshape %d : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %y = nn.dot %r, %u contract [3] x [0] : tensor<?x?x2x4xf32>, tensor<4xf32>
  return %y : tensor<?x?x2xf32>
}

// -----

// Dimensions inside the body count without the row dimensions.
// CHECK-LABEL: func.func @dimensions_shift
// CHECK: nn.slice %{{.*}} dim 1 from 1 step 2 : tensor<3x4xf32> -> tensor<3x2xf32>
// CHECK: nn.transpose %{{.*}} [1, 0] : tensor<3x2xf32> -> tensor<2x3xf32>
// CHECK: nn.pad %{{.*}} dim 0 from 1 step 1 : tensor<2x3xf32> -> tensor<4x3xf32>
// CHECK: nn.reduce_max %{{.*}} [0] : tensor<4x3xf32>
func.func @dimensions_shift(%x: tensor<?x?x3x4xf32>) -> tensor<?x?x1x3xf32> {
  %s = nn.slice %x dim 3 from 1 step 2 : tensor<?x?x3x4xf32> -> tensor<?x?x3x2xf32>
  %t = nn.transpose %s [0, 1, 3, 2] : tensor<?x?x3x2xf32> -> tensor<?x?x2x3xf32>
  %p = nn.pad %t dim 2 from 1 step 1 : tensor<?x?x2x3xf32> -> tensor<?x?x4x3xf32>
  %m = nn.reduce_max %p [2] : tensor<?x?x4x3xf32>
  return %m : tensor<?x?x1x3xf32>
}

// -----

// Loss and gradient of the logits: the count comes first, then one map reads
// the logits; probabilities stay inside.
// CHECK-LABEL: func.func @probabilities_are_not_stored
// CHECK: %[[Z:.*]] = nn.dot
// CHECK: %[[C:.*]] = nn.map rows 2(%[[IDS:.*]]) operand_rows [true] result_rows [false]
// CHECK: %[[C0:.*]] = nn.reshape %[[C]] : tensor<1xf32> -> tensor<f32>
// CHECK: nn.map rows 2(%[[Z]], %[[IDS]], %[[C0]]) operand_rows [true, true, false] result_rows [false, true]
// CHECK: nn.exp
// CHECK-NOT: nn.exp
// CHECK: nn.place
// CHECK: -> (tensor<1xf32>, tensor<?x?x64xf32>)
// CHECK: nn.map rows 0
// CHECK-NOT: nn.map
func.func @probabilities_are_not_stored(%x: tensor<?x?x8xf32>, %w: tensor<64x8xf32>, %ids: tensor<?x?xi32>)
    -> (tensor<f32>, tensor<?x?x64xf32>) {
  %one = nn.constant 1.0 : tensor<f32>
  %z = nn.dot %x, %w contract [2] x [1] : tensor<?x?x8xf32>, tensor<64x8xf32>
  %m = nn.reduce_max %z [2] : tensor<?x?x64xf32>
  %d = nn.sub %z, %m : tensor<?x?x64xf32>, tensor<?x?x1xf32>
  %e = nn.exp %d : tensor<?x?x64xf32>
  %s = nn.reduce_sum %e [2] : tensor<?x?x64xf32>
  %l = nn.log %s : tensor<?x?x1xf32>
  %lse = nn.add %l, %m : tensor<?x?x1xf32>, tensor<?x?x1xf32>
  %t = nn.pick %z, %ids : tensor<?x?x64xf32>, tensor<?x?xi32> -> tensor<?x?x1xf32>
  %nll = nn.sub %lse, %t : tensor<?x?x1xf32>, tensor<?x?x1xf32>
  %mask = nn.is_index %ids : tensor<?x?xi32> -> tensor<?x?x1xf32>
  %nm = nn.mul %nll, %mask : tensor<?x?x1xf32>, tensor<?x?x1xf32>
  %sum = nn.reduce_sum %nm [0, 1, 2] : tensor<?x?x1xf32>
  %cnt = nn.reduce_sum %mask [0, 1, 2] : tensor<?x?x1xf32>
  %sum0 = nn.reshape %sum : tensor<1x1x1xf32> -> tensor<f32>
  %cnt0 = nn.reshape %cnt : tensor<1x1x1xf32> -> tensor<f32>
  %count = nn.maximum %cnt0, %one : tensor<f32>, tensor<f32>
  %loss = nn.div %sum0, %count : tensor<f32>, tensor<f32>
  %g = nn.div %one, %count : tensor<f32>, tensor<f32>
  %gm = nn.mul %mask, %g : tensor<?x?x1xf32>, tensor<f32>
  %p = nn.div %e, %s : tensor<?x?x64xf32>, tensor<?x?x1xf32>
  %pg = nn.mul %p, %gm : tensor<?x?x64xf32>, tensor<?x?x1xf32>
  %ng = nn.neg %gm : tensor<?x?x1xf32>
  %pl = nn.place %ng, %ids : tensor<?x?x1xf32>, tensor<?x?xi32> -> tensor<?x?x64xf32>
  %dz = nn.add %pg, %pl : tensor<?x?x64xf32>, tensor<?x?x64xf32>
  return %loss, %dz : tensor<f32>, tensor<?x?x64xf32>
}

// -----

// Two chains that read one tensor share a map; a third that reads another does not.
// CHECK-LABEL: func.func @readers_of_one_tensor_share_a_map
// CHECK: nn.map rows 2(%[[X:.*]]) operand_rows [true] result_rows [true, true]
// CHECK: nn.map rows 2(%{{.*}}) operand_rows [true] result_rows [true]
// CHECK-NOT: nn.map
func.func @readers_of_one_tensor_share_a_map(%x: tensor<?x?x32xf32>, %y: tensor<?x?x32xf32>)
    -> (tensor<?x?x32xf32>, tensor<?x?x32xf32>, tensor<?x?x32xf32>) {
  %a = nn.exp %x : tensor<?x?x32xf32>
  %b = nn.tanh %x : tensor<?x?x32xf32>
  %c = nn.tanh %y : tensor<?x?x32xf32>
  return %a, %b, %c : tensor<?x?x32xf32>, tensor<?x?x32xf32>, tensor<?x?x32xf32>
}

// -----

// Time and step tensors have equal types; only a shared value joins row spaces.
// CHECK-LABEL: func.func @equal_types_alone_do_not_fuse
// CHECK-COUNT-2: nn.map rows 2
func.func @equal_types_alone_do_not_fuse(%x: tensor<?x?x4xf32>, %y: tensor<?x?x4xf32>, %w: tensor<4xf32>)
    -> (tensor<?x?x4xf32>, tensor<?x?x4xf32>) {
  %a = nn.mul %x, %w : tensor<?x?x4xf32>, tensor<4xf32>
  %b = nn.mul %y, %w : tensor<?x?x4xf32>, tensor<4xf32>
  return %a, %b : tensor<?x?x4xf32>, tensor<?x?x4xf32>
}

// -----

// A norm that only the last map needs is computed there, not stored.
// CHECK-LABEL: func.func @late_values_move_to_their_use
// CHECK-NOT: nn.map
// CHECK: %[[D:.*]] = nn.dot
// CHECK: nn.map rows 2(%{{.*}}, %[[D]])
// CHECK: nn.reduce_sum
// CHECK-NOT: nn.map
func.func @late_values_move_to_their_use(%x: tensor<?x?x8xf32>, %w: tensor<8x8xf32>) -> tensor<?x?x8xf32> {
  %sq = nn.mul %x, %x : tensor<?x?x8xf32>, tensor<?x?x8xf32>
  %s = nn.reduce_sum %sq [2] : tensor<?x?x8xf32>
  %d = nn.dot %x, %w contract [2] x [1] : tensor<?x?x8xf32>, tensor<8x8xf32>
  %y = nn.mul %d, %s : tensor<?x?x8xf32>, tensor<?x?x1xf32>
  return %y : tensor<?x?x8xf32>
}

// -----

// A weight's own arithmetic runs once, not per row; scalars go along.
// CHECK-LABEL: func.func @weights_are_computed_once
// CHECK: %[[W:.*]] = nn.map rows 0(%{{.*}}) operand_rows [false] result_rows [true]
// CHECK: nn.map rows 2(%{{.*}}, %[[W]], %{{.*}}) operand_rows [true, false, false]
// CHECK: nn.sqrt %{{.*}} : tensor<f32>
func.func @weights_are_computed_once(%x: tensor<?x?x8xf32>, %w: tensor<8xf32>, %s: tensor<f32>) -> tensor<?x?x8xf32> {
  %e = nn.exp %w : tensor<8xf32>
  %r = nn.sqrt %s : tensor<f32>
  %y = nn.mul %x, %e : tensor<?x?x8xf32>, tensor<8xf32>
  %z = nn.mul %y, %r : tensor<?x?x8xf32>, tensor<f32>
  return %z : tensor<?x?x8xf32>
}

// -----

// Nothing loose is left: a constant that is returned, and zeros like a tensor.
// CHECK-LABEL: func.func @constants_and_zeros
// CHECK: nn.map rows 0() operand_rows [] result_rows [true] {
// CHECK: nn.map rows 2(%{{.*}}) operand_rows [true] result_rows [true]
// CHECK-NOT: nn.constant {{.*}} : tensor<?
func.func @constants_and_zeros(%x: tensor<?x?x8xf32>) -> (tensor<4x8xf32>, tensor<?x?x8xf32>) {
  %c = nn.constant 0.0 : tensor<4x8xf32>
  %zero = nn.constant 0.0 : tensor<f32>
  %z = nn.broadcast_like %zero, %x : tensor<f32>, tensor<?x?x8xf32> -> tensor<?x?x8xf32>
  return %c, %z : tensor<4x8xf32>, tensor<?x?x8xf32>
}

// -----

// What two stages need is computed in each where that moves less memory.
// CHECK-LABEL: func.func @cheap_values_are_computed_again
// CHECK: nn.map rows 2(%[[X:.*]]) operand_rows [true] result_rows [true]
// CHECK: nn.sigmoid
// CHECK: %[[D:.*]] = nn.dot
// CHECK: nn.map rows 2(%[[D]], %[[X]])
// CHECK: nn.sigmoid
// CHECK: return
func.func @cheap_values_are_computed_again(%x: tensor<?x?x8xf32>, %w: tensor<8x8xf32>) -> tensor<?x?x8xf32> {
  %s = nn.sigmoid %x : tensor<?x?x8xf32>
  %y = nn.mul %x, %s : tensor<?x?x8xf32>, tensor<?x?x8xf32>
  %d = nn.dot %y, %w contract [2] x [1] : tensor<?x?x8xf32>, tensor<8x8xf32>
  %z = nn.mul %d, %s : tensor<?x?x8xf32>, tensor<?x?x8xf32>
  return %z : tensor<?x?x8xf32>
}

// -----

// Two maps that read one tensor are not merged if a call had to move for it.
// CHECK-LABEL: func.func @calls_keep_their_order
// CHECK: call @f
// CHECK: nn.map
// CHECK: call @g
// CHECK: call @f
// CHECK: nn.map
// CHECK: call @g
func.func private @f(tensor<?x?x32xf32>) -> tensor<?x?x32xf32>
func.func private @g(tensor<?x?x32xf32>) -> tensor<?x?x32xf32>
func.func @calls_keep_their_order(%x: tensor<?x?x32xf32>, %y: tensor<?x?x32xf32>)
    -> (tensor<?x?x32xf32>, tensor<?x?x32xf32>) {
  %a = call @f(%x) : (tensor<?x?x32xf32>) -> tensor<?x?x32xf32>
  %b = nn.add %a, %y : tensor<?x?x32xf32>, tensor<?x?x32xf32>
  %c = call @g(%b) : (tensor<?x?x32xf32>) -> tensor<?x?x32xf32>
  %d = call @f(%y) : (tensor<?x?x32xf32>) -> tensor<?x?x32xf32>
  %e = nn.mul %d, %y : tensor<?x?x32xf32>, tensor<?x?x32xf32>
  %r = call @g(%e) : (tensor<?x?x32xf32>) -> tensor<?x?x32xf32>
  return %c, %r : tensor<?x?x32xf32>, tensor<?x?x32xf32>
}

// -----

// A convolution reads other rows: what comes before and after it are maps of their own.
// CHECK-LABEL: func.func @convolution_is_a_barrier
// CHECK: %[[BEFORE:.*]] = nn.map rows 2
// CHECK: nn.neg
// CHECK: %[[Y:.*]], %[[NEXT:.*]] = nn.short_conv %[[BEFORE]], %{{.*}}
// CHECK: %[[AFTER:.*]] = nn.map rows 2(%[[Y]])
// CHECK: nn.sigmoid
// CHECK: return %[[AFTER]], %[[NEXT]]
func.func @convolution_is_a_barrier(%x: tensor<?x?x8xf32>, %w: tensor<8x4xf32>) -> (tensor<?x?x8xf32>, tensor<?x3x8xf32>) {
  %n = nn.neg %x : tensor<?x?x8xf32>
  %y, %next = nn.short_conv %n, %w : tensor<?x?x8xf32>, tensor<8x4xf32>
  %s = nn.sigmoid %y : tensor<?x?x8xf32>
  %z = nn.mul %y, %s : tensor<?x?x8xf32>, tensor<?x?x8xf32>
  return %z, %next : tensor<?x?x8xf32>, tensor<?x3x8xf32>
}

// -----

// Positions use the sizes of a value, which is no reason to store it; indices become numbers in the map.
// CHECK-LABEL: func.func @positions_keep_no_value
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x?x8xf32>
// CHECK:         %[[P:.*]], %{{.*}} = nn.positions %[[X]] : tensor<?x?x8xf32>
// CHECK-NEXT:    %[[Y:.*]] = nn.map rows 2(%{{.*}}, %{{.*}}) operand_rows [true, true] result_rows [true] {
// CHECK-DAG:       nn.exp %{{.*}} : tensor<8xf32>
// CHECK-DAG:       nn.to_float %{{.*}} : tensor<i32> -> tensor<f32>
// CHECK-DAG:       nn.iota : tensor<8xf32>
// CHECK-NOT:     nn.map
// CHECK:         return %[[Y]]
func.func @positions_keep_no_value(%x: tensor<?x?x8xf32>) -> tensor<?x?x8xf32> {
  %e = nn.exp %x : tensor<?x?x8xf32>
  %p, %n = nn.positions %e : tensor<?x?x8xf32>
  %f = nn.to_float %p : tensor<?x?xi32> -> tensor<?x?xf32>
  %r = nn.reshape %f : tensor<?x?xf32> -> tensor<?x?x1xf32>
  %i = nn.iota : tensor<8xf32>
  %a = nn.mul %r, %i : tensor<?x?x1xf32>, tensor<8xf32>
  %y = nn.mul %e, %a : tensor<?x?x8xf32>, tensor<?x?x8xf32>
  return %y : tensor<?x?x8xf32>
}
