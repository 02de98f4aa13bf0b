// RUN: tidegate-opt %s -canonicalize | FileCheck %s

// CHECK-LABEL: func.func @log_of_exp_is_the_operand(
// CHECK-SAME:    %[[X:.*]]: tensor<?x8xf32>)
// CHECK-NEXT:    return %[[X]]
func.func @log_of_exp_is_the_operand(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = nn.exp %x : tensor<?x8xf32>
  %1 = nn.log %0 : tensor<?x8xf32>
  return %1 : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @neutral_elements_go(
// CHECK-SAME:    %[[X:.*]]: tensor<?x8xf32>)
// CHECK-NEXT:    return %[[X]]
func.func @neutral_elements_go(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %zero = nn.constant 0.0 : tensor<f32>
  %one = nn.constant 1.0 : tensor<8xf32>
  %0 = nn.add %x, %zero : tensor<?x8xf32>, tensor<f32>
  %1 = nn.add %zero, %0 : tensor<f32>, tensor<?x8xf32>
  %2 = nn.sub %1, %zero : tensor<?x8xf32>, tensor<f32>
  %3 = nn.mul %2, %one : tensor<?x8xf32>, tensor<8xf32>
  %4 = nn.mul %one, %3 : tensor<8xf32>, tensor<?x8xf32>
  %5 = nn.div %4, %one : tensor<?x8xf32>, tensor<8xf32>
  %6 = nn.neg %5 : tensor<?x8xf32>
  %7 = nn.neg %6 : tensor<?x8xf32>
  return %7 : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @neutral_elements_that_give_the_shape_stay(
// CHECK:         nn.add
// CHECK:         nn.sub
func.func @neutral_elements_that_give_the_shape_stay(%x: tensor<f32>, %y: tensor<8xf32>) -> (tensor<8xf32>, tensor<8xf32>) {
  %zero = nn.constant 0.0 : tensor<8xf32>
  %0 = nn.add %x, %zero : tensor<f32>, tensor<8xf32>
  %1 = nn.sub %zero, %y : tensor<8xf32>, tensor<8xf32>
  return %0, %1 : tensor<8xf32>, tensor<8xf32>
}

// CHECK-LABEL: func.func @repeats_go_where_the_consumer_repeats(
// CHECK-SAME:    %[[X:.*]]: tensor<?x1xf32>, %[[Y:.*]]: tensor<?x8xf32>)
// CHECK-NEXT:    %[[R:.*]] = nn.mul %[[X]], %[[Y]] : tensor<?x1xf32>, tensor<?x8xf32>
// CHECK-NEXT:    return %[[R]]
func.func @repeats_go_where_the_consumer_repeats(%x: tensor<?x1xf32>, %y: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = nn.broadcast_like %x, %y : tensor<?x1xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %1 = nn.broadcast_like %0, %y : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %2 = nn.mul %1, %y : tensor<?x8xf32>, tensor<?x8xf32>
  return %2 : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @one_of_two_repeats_stays(
// CHECK-COUNT-1: nn.broadcast_like
// CHECK-NOT:     nn.broadcast_like
// CHECK:         return
func.func @one_of_two_repeats_stays(%x: tensor<?x1xf32>, %l: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = nn.broadcast_like %x, %l : tensor<?x1xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %1 = nn.add %0, %0 : tensor<?x8xf32>, tensor<?x8xf32>
  return %1 : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @inverse_shapes_cancel(
// CHECK-SAME:    %[[X:.*]]: tensor<?x2x3xf32>)
// CHECK-NEXT:    return %[[X]], %[[X]]
func.func @inverse_shapes_cancel(%x: tensor<?x2x3xf32>) -> (tensor<?x2x3xf32>, tensor<?x2x3xf32>) {
  %0 = nn.transpose %x [0, 2, 1] : tensor<?x2x3xf32> -> tensor<?x3x2xf32>
  %1 = nn.transpose %0 [0, 2, 1] : tensor<?x3x2xf32> -> tensor<?x2x3xf32>
  %2 = nn.reshape %x : tensor<?x2x3xf32> -> tensor<?x6xf32>
  %3 = nn.reshape %2 : tensor<?x6xf32> -> tensor<?x2x3xf32>
  return %1, %3 : tensor<?x2x3xf32>, tensor<?x2x3xf32>
}

// CHECK-LABEL: func.func @transposes_compose(
// CHECK-SAME:    %[[X:.*]]: tensor<2x3x4xf32>)
// CHECK-NEXT:    %[[T:.*]] = nn.transpose %[[X]] [2, 0, 1] : tensor<2x3x4xf32> -> tensor<4x2x3xf32>
// CHECK-NEXT:    return %[[T]]
func.func @transposes_compose(%x: tensor<2x3x4xf32>) -> tensor<4x2x3xf32> {
  %0 = nn.transpose %x [1, 2, 0] : tensor<2x3x4xf32> -> tensor<3x4x2xf32>
  %1 = nn.transpose %0 [1, 2, 0] : tensor<3x4x2xf32> -> tensor<4x2x3xf32>
  return %1 : tensor<4x2x3xf32>
}

// CHECK-LABEL: func.func @sum_over_nothing_is_the_operand(
// CHECK-SAME:    %[[X:.*]]: tensor<?x8xf32>)
// CHECK-NEXT:    return %[[X]]
func.func @sum_over_nothing_is_the_operand(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = nn.reduce_sum %x [] : tensor<?x8xf32>
  %1 = nn.reduce_max %0 [] : tensor<?x8xf32>
  return %1 : tensor<?x8xf32>
}

// Sizes come from the argument, not from what was computed of it.
// CHECK-LABEL: func.func @positions_use_sizes_alone
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x?x8xf32>
// CHECK-NEXT:    %[[P:.*]], %{{.*}} = nn.positions %[[X]] : tensor<?x?x8xf32>
// CHECK-NEXT:    return %[[P]]
func.func @positions_use_sizes_alone(%x: tensor<?x?x8xf32>, %w: tensor<16x8xf32>) -> tensor<?x?xi32> {
  %0 = nn.exp %x : tensor<?x?x8xf32>
  %1 = nn.dot %0, %w contract [2] x [1] : tensor<?x?x8xf32>, tensor<16x8xf32>
  %2 = nn.reshape %1 : tensor<?x?x16xf32> -> tensor<?x?x4x4xf32>
  %3:4 = nn.attention %2, %2, %2 window 3 : tensor<?x?x4x4xf32>, tensor<?x?x4x4xf32>, tensor<?x?x4x4xf32>
  %p, %n = nn.positions %3#0 : tensor<?x?x4x4xf32>
  return %p : tensor<?x?xi32>
}

// The steps of a scan are no tokens.
// CHECK-LABEL: func.func @positions_of_steps
// CHECK:         nn.positions %{{.*}}#2 : tensor<?x?x1x8xf32>
func.func @positions_of_steps(%x: tensor<?x?x1x8xf32>) -> tensor<?x?xi32> {
  %o, %f, %s = rec.scan save_states chunk 4 (%x : tensor<?x?x1x8xf32>) kinds [0] out_kinds [0] states 1 {
  ^bb0(%xt: tensor<4x8xf32>, %S: tensor<8xf32>):
    rec.yield %xt, %S : tensor<4x8xf32>, tensor<8xf32>
  } -> tensor<?x?x1x8xf32>, tensor<?x1x8xf32>, tensor<?x?x1x8xf32>
  %p, %n = nn.positions %s : tensor<?x?x1x8xf32>
  return %p : tensor<?x?xi32>
}
