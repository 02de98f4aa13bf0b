// RUN: tidegate-opt %s --verify-roundtrip | FileCheck %s
// RUN: tidegate-opt %s --mlir-print-op-generic | FileCheck %s --check-prefix=GENERIC

// CHECK-LABEL: func.func @elementwise
func.func @elementwise(%x: tensor<?x?x8xf32>, %w: tensor<8xf32>) -> tensor<?x?x8xf32> {
  // CHECK: nn.neg %{{.*}} : tensor<?x?x8xf32>
  // GENERIC: "nn.neg"(%{{.*}}) : (tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %0 = nn.neg %x : tensor<?x?x8xf32>
  // CHECK-NEXT: nn.exp
  %1 = nn.exp %0 : tensor<?x?x8xf32>
  // CHECK-NEXT: nn.log
  %2 = nn.log %1 : tensor<?x?x8xf32>
  // CHECK-NEXT: nn.sqrt
  %3 = nn.sqrt %2 : tensor<?x?x8xf32>
  // CHECK-NEXT: nn.rsqrt
  %4 = nn.rsqrt %3 : tensor<?x?x8xf32>
  // CHECK-NEXT: nn.abs
  %5 = nn.abs %4 : tensor<?x?x8xf32>
  // CHECK-NEXT: nn.sigmoid
  %6 = nn.sigmoid %5 : tensor<?x?x8xf32>
  // CHECK-NEXT: nn.softplus
  %7 = nn.softplus %6 : tensor<?x?x8xf32>
  // CHECK-NEXT: nn.tanh
  %8 = nn.tanh %7 : tensor<?x?x8xf32>
  // CHECK-NEXT: nn.sin
  %9 = nn.sin %8 : tensor<?x?x8xf32>
  // CHECK-NEXT: nn.cos
  %10 = nn.cos %9 : tensor<?x?x8xf32>
  // CHECK-NEXT: nn.is_finite
  %11 = nn.is_finite %10 : tensor<?x?x8xf32>
  // CHECK-NEXT: nn.stop_gradient
  %12 = nn.stop_gradient %11 : tensor<?x?x8xf32>
  // CHECK-NEXT: nn.add %{{.*}}, %{{.*}} : tensor<?x?x8xf32>, tensor<8xf32>
  // GENERIC: "nn.add"(%{{.*}}, %{{.*}}) : (tensor<?x?x8xf32>, tensor<8xf32>) -> tensor<?x?x8xf32>
  %13 = nn.add %12, %w : tensor<?x?x8xf32>, tensor<8xf32>
  // CHECK-NEXT: nn.sub %{{.*}}, %{{.*}} : tensor<8xf32>, tensor<?x?x8xf32>
  %14 = nn.sub %w, %13 : tensor<8xf32>, tensor<?x?x8xf32>
  // CHECK-NEXT: nn.mul
  %15 = nn.mul %14, %x : tensor<?x?x8xf32>, tensor<?x?x8xf32>
  // CHECK-NEXT: nn.div
  %16 = nn.div %15, %x : tensor<?x?x8xf32>, tensor<?x?x8xf32>
  // CHECK-NEXT: nn.maximum
  %17 = nn.maximum %16, %w : tensor<?x?x8xf32>, tensor<8xf32>
  // CHECK-NEXT: nn.minimum
  %18 = nn.minimum %17, %w : tensor<?x?x8xf32>, tensor<8xf32>
  // CHECK-NEXT: nn.greater
  %19 = nn.greater %18, %w : tensor<?x?x8xf32>, tensor<8xf32>
  // CHECK-NEXT: nn.equal
  %20 = nn.equal %19, %w : tensor<?x?x8xf32>, tensor<8xf32>
  // CHECK-NEXT: nn.select %{{.*}}, %{{.*}}, %{{.*}} : tensor<?x?x8xf32>, tensor<?x?x8xf32>, tensor<8xf32>
  %21 = nn.select %20, %x, %w : tensor<?x?x8xf32>, tensor<?x?x8xf32>, tensor<8xf32>
  return %21 : tensor<?x?x8xf32>
}

// CHECK-LABEL: func.func @broadcasting_repeats_ones_on_both_sides
func.func @broadcasting_repeats_ones_on_both_sides(%x: tensor<4x1x3xf64>, %y: tensor<5x1xf64>) -> tensor<4x5x3xf64> {
  // CHECK: nn.mul
  %0 = nn.mul %x, %y : tensor<4x1x3xf64>, tensor<5x1xf64>
  return %0 : tensor<4x5x3xf64>
}

// CHECK-LABEL: func.func @angles
func.func @angles(%t: tensor<?x?x1xf32>, %i: tensor<8xf32>) -> tensor<?x?x8xf32> {
  // CHECK: nn.angle %{{.*}}, %{{.*}} base 1.000000e-01 : tensor<?x?x1xf32>, tensor<8xf32>
  // GENERIC: "nn.angle"(%{{.*}}, %{{.*}}) <{base = 1.000000e-01 : f64}> : (tensor<?x?x1xf32>, tensor<8xf32>) -> tensor<?x?x8xf32>
  %0 = nn.angle %t, %i base 0.1 : tensor<?x?x1xf32>, tensor<8xf32>
  return %0 : tensor<?x?x8xf32>
}

// CHECK-LABEL: func.func @shapes
func.func @shapes(%x: tensor<?x?x6x4xf32>, %s: tensor<?x?x1x4xf32>) {
  // CHECK: nn.constant 5.000000e-01 : tensor<2x3xf32>
  // GENERIC: "nn.constant"() <{value = 5.000000e-01 : f64}> : () -> tensor<2x3xf32>
  %0 = nn.constant 0.5 : tensor<2x3xf32>
  // CHECK-NEXT: nn.broadcast_like %{{.*}}, %{{.*}} : tensor<?x?x1x4xf32>, tensor<?x?x6x4xf32> -> tensor<?x?x6x4xf32>
  %1 = nn.broadcast_like %s, %x : tensor<?x?x1x4xf32>, tensor<?x?x6x4xf32> -> tensor<?x?x6x4xf32>
  // CHECK-NEXT: nn.reshape %{{.*}} : tensor<?x?x6x4xf32> -> tensor<?x?x2x12xf32>
  %2 = nn.reshape %x : tensor<?x?x6x4xf32> -> tensor<?x?x2x12xf32>
  // CHECK-NEXT: nn.transpose %{{.*}} [0, 1, 3, 2] : tensor<?x?x6x4xf32> -> tensor<?x?x4x6xf32>
  // GENERIC: "nn.transpose"(%{{.*}}) <{permutation = array<i64: 0, 1, 3, 2>}>
  %3 = nn.transpose %x [0, 1, 3, 2] : tensor<?x?x6x4xf32> -> tensor<?x?x4x6xf32>
  // CHECK-NEXT: nn.slice %{{.*}} dim 2 from 1 step 2 : tensor<?x?x6x4xf32> -> tensor<?x?x3x4xf32>
  %4 = nn.slice %x dim 2 from 1 step 2 : tensor<?x?x6x4xf32> -> tensor<?x?x3x4xf32>
  // CHECK-NEXT: nn.pad %{{.*}} dim 3 from 0 step 3 : tensor<?x?x6x4xf32> -> tensor<?x?x6x10xf32>
  %5 = nn.pad %x dim 3 from 0 step 3 : tensor<?x?x6x4xf32> -> tensor<?x?x6x10xf32>
  // CHECK-NEXT: nn.reduce_sum %{{.*}} [0, 2] : tensor<?x?x6x4xf32>
  // GENERIC: "nn.reduce_sum"(%{{.*}}) <{dims = array<i64: 0, 2>}> : (tensor<?x?x6x4xf32>) -> tensor<1x?x1x4xf32>
  %6 = nn.reduce_sum %x [0, 2] : tensor<?x?x6x4xf32>
  // CHECK-NEXT: nn.reduce_max %{{.*}} [3] : tensor<?x?x6x4xf32>
  %7 = nn.reduce_max %x [3] : tensor<?x?x6x4xf32>
  return
}

// CHECK-LABEL: func.func @products
func.func @products(%x: tensor<?x?x8xf32>, %w: tensor<16x8xf32>, %q: tensor<2x3x4xf32>, %k: tensor<3x5x4xf32>) {
  // CHECK: nn.dot %{{.*}}, %{{.*}} contract [2] x [1] : tensor<?x?x8xf32>, tensor<16x8xf32>
  // GENERIC: "nn.dot"(%{{.*}}, %{{.*}}) <{lhs_batch = array<i64>, lhs_contract = array<i64: 2>, rhs_batch = array<i64>, rhs_contract = array<i64: 1>}> : (tensor<?x?x8xf32>, tensor<16x8xf32>) -> tensor<?x?x16xf32>
  %0 = nn.dot %x, %w contract [2] x [1] : tensor<?x?x8xf32>, tensor<16x8xf32>
  // CHECK-NEXT: nn.dot %{{.*}}, %{{.*}} batch [1] x [0] contract [2] x [2] : tensor<2x3x4xf32>, tensor<3x5x4xf32>
  // GENERIC: -> tensor<3x2x5xf32>
  %1 = nn.dot %q, %k batch [1] x [0] contract [2] x [2] : tensor<2x3x4xf32>, tensor<3x5x4xf32>
  // CHECK-NEXT: nn.dot %{{.*}}, %{{.*}} contract [] x [] : tensor<2x3x4xf32>, tensor<16x8xf32>
  // GENERIC: -> tensor<2x3x4x16x8xf32>
  %2 = nn.dot %q, %w contract [] x [] : tensor<2x3x4xf32>, tensor<16x8xf32>
  return
}

// CHECK-LABEL: func.func @short_convolutions
func.func @short_convolutions(%x: tensor<?x?x8xf32>, %w: tensor<8x4xf32>, %e: tensor<?x3x8xf32>, %p: tensor<?x?xi32>) {
  // CHECK: %{{.*}}, %{{.*}} = nn.short_conv %{{.*}}, %{{.*}} : tensor<?x?x8xf32>, tensor<8x4xf32>
  // GENERIC: "nn.short_conv"(%{{.*}}, %{{.*}}) <{operandSegmentSizes = array<i32: 1, 1, 0, 0>}> : (tensor<?x?x8xf32>, tensor<8x4xf32>) -> (tensor<?x?x8xf32>, tensor<?x3x8xf32>)
  %0, %n0 = nn.short_conv %x, %w : tensor<?x?x8xf32>, tensor<8x4xf32>
  // CHECK-NEXT: nn.short_conv %{{.*}}, %{{.*}} after %{{.*}} : tensor<?x?x8xf32>, tensor<8x4xf32>, tensor<?x3x8xf32>
  %1, %n1 = nn.short_conv %x, %w after %e : tensor<?x?x8xf32>, tensor<8x4xf32>, tensor<?x3x8xf32>
  // CHECK-NEXT: nn.short_conv_input_grad %{{.*}}, %{{.*}} : tensor<?x?x8xf32>, tensor<8x4xf32>
  %2, %n2 = nn.short_conv_input_grad %x, %w : tensor<?x?x8xf32>, tensor<8x4xf32>
  // CHECK-NEXT: nn.short_conv_input_grad %{{.*}}, %{{.*}} before %{{.*}} : tensor<?x?x8xf32>, tensor<8x4xf32>, tensor<?x3x8xf32>
  %3, %n3 = nn.short_conv_input_grad %x, %w before %e : tensor<?x?x8xf32>, tensor<8x4xf32>, tensor<?x3x8xf32>
  // CHECK-NEXT: nn.short_conv_weight_grad %{{.*}}, %{{.*}} : tensor<?x?x8xf32>, tensor<?x?x8xf32> -> tensor<8x4xf32>
  %4 = nn.short_conv_weight_grad %x, %0 : tensor<?x?x8xf32>, tensor<?x?x8xf32> -> tensor<8x4xf32>
  // CHECK-NEXT: nn.short_conv_weight_grad %{{.*}}, %{{.*}} after %{{.*}} : tensor<?x?x8xf32>, tensor<?x?x8xf32>, tensor<?x3x8xf32> -> tensor<8x4xf32>
  %5 = nn.short_conv_weight_grad %x, %0 after %e : tensor<?x?x8xf32>, tensor<?x?x8xf32>, tensor<?x3x8xf32> -> tensor<8x4xf32>
  // CHECK-NEXT: nn.short_conv %{{.*}}, %{{.*}} after %{{.*}} at(%{{.*}} : tensor<?x?xi32>) : tensor<?x?x8xf32>, tensor<8x4xf32>, tensor<?x3x8xf32>
  %6, %n6 = nn.short_conv %x, %w after %e at(%p : tensor<?x?xi32>) : tensor<?x?x8xf32>, tensor<8x4xf32>, tensor<?x3x8xf32>
  // CHECK-NEXT: nn.short_conv_input_grad %{{.*}}, %{{.*}} at(%{{.*}} : tensor<?x?xi32>) : tensor<?x?x8xf32>, tensor<8x4xf32>
  %7, %n7 = nn.short_conv_input_grad %x, %w at(%p : tensor<?x?xi32>) : tensor<?x?x8xf32>, tensor<8x4xf32>
  // CHECK-NEXT: nn.short_conv_weight_grad %{{.*}}, %{{.*}} at(%{{.*}} : tensor<?x?xi32>) : tensor<?x?x8xf32>, tensor<?x?x8xf32> -> tensor<8x4xf32>
  %8 = nn.short_conv_weight_grad %x, %0 at(%p : tensor<?x?xi32>) : tensor<?x?x8xf32>, tensor<?x?x8xf32> -> tensor<8x4xf32>
  return
}

// CHECK-LABEL: func.func @attention
func.func @attention(%q: tensor<?x?x4x8xf32>, %k: tensor<?x?x2x8xf32>, %v: tensor<?x?x2x6xf32>, %p: tensor<?x?xi32>,
                     %pk: tensor<?x15x2x8xf32>, %pv: tensor<?x15x2x6xf32>) {
  // CHECK: %[[O:.*]], %[[L:.*]], %{{.*}}, %{{.*}} = nn.attention %{{.*}}, %{{.*}}, %{{.*}} window 16 : tensor<?x?x4x8xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x6xf32>
  // GENERIC: "nn.attention"(%{{.*}}, %{{.*}}, %{{.*}}) {{.*}} -> (tensor<?x?x4x6xf32>, tensor<?x?x4xf32>, tensor<?x15x2x8xf32>, tensor<?x15x2x6xf32>)
  %o, %l, %nk, %nv = nn.attention %q, %k, %v window 16 : tensor<?x?x4x8xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x6xf32>
  // CHECK-NEXT: nn.attention %{{.*}}, %{{.*}}, %{{.*}} window 16 at(%{{.*}} : tensor<?x?xi32>) after(%{{.*}}, %{{.*}} : tensor<?x15x2x8xf32>, tensor<?x15x2x6xf32>) :
  %o1, %l1, %nk1, %nv1 = nn.attention %q, %k, %v window 16 at (%p : tensor<?x?xi32>)
      after (%pk, %pv : tensor<?x15x2x8xf32>, tensor<?x15x2x6xf32>)
      : tensor<?x?x4x8xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x6xf32>
  // CHECK-NEXT: nn.attention_grad %{{.*}}, %{{.*}}, %{{.*}}, %[[O]], %[[L]], %[[O]] window 16 lse(%[[L]] : tensor<?x?x4xf32>) at(%{{.*}} : tensor<?x?xi32>) after(%{{.*}}, %{{.*}} : tensor<?x15x2x8xf32>, tensor<?x15x2x6xf32>) :
  // GENERIC: "nn.attention_grad"({{.*}} -> (tensor<?x?x4x8xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x6xf32>, tensor<?x15x2x8xf32>, tensor<?x15x2x6xf32>)
  %dq, %dk, %dv, %dpk, %dpv = nn.attention_grad %q, %k, %v, %o, %l, %o window 16 lse (%l : tensor<?x?x4xf32>)
      at (%p : tensor<?x?xi32>) after (%pk, %pv : tensor<?x15x2x8xf32>, tensor<?x15x2x6xf32>)
      : tensor<?x?x4x8xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x6xf32>, tensor<?x?x4x6xf32>, tensor<?x?x4xf32>, tensor<?x?x4x6xf32>
  return
}

// CHECK-LABEL: func.func @positions
func.func @positions(%x: tensor<?x?x8xf32>, %first: tensor<?x1xi32>) {
  // CHECK: %[[P:.*]], %{{.*}} = nn.positions %{{.*}} : tensor<?x?x8xf32>
  // GENERIC: "nn.positions"(%{{.*}}) : (tensor<?x?x8xf32>) -> (tensor<?x?xi32>, tensor<?x1xi32>)
  %p, %n = nn.positions %x : tensor<?x?x8xf32>
  // CHECK-NEXT: nn.positions %{{.*}} from %{{.*}} : tensor<?x?x8xf32>, tensor<?x1xi32>
  %q, %m = nn.positions %x from %first : tensor<?x?x8xf32>, tensor<?x1xi32>
  // CHECK-NEXT: nn.to_float %[[P]] : tensor<?x?xi32> -> tensor<?x?xf32>
  %0 = nn.to_float %p : tensor<?x?xi32> -> tensor<?x?xf32>
  // CHECK-NEXT: nn.iota : tensor<8xf32>
  %1 = nn.iota : tensor<8xf32>
  return
}

// CHECK-LABEL: func.func @indices
func.func @indices(%ids: tensor<?x?xi32>, %table: tensor<100x8xf32>, %x: tensor<?x?x8xf32>, %c: tensor<?x?x1xf32>) {
  // CHECK: nn.lookup %{{.*}}, %{{.*}} : tensor<100x8xf32>, tensor<?x?xi32> -> tensor<?x?x8xf32>
  %0 = nn.lookup %table, %ids : tensor<100x8xf32>, tensor<?x?xi32> -> tensor<?x?x8xf32>
  // CHECK-NEXT: nn.lookup_grad %{{.*}}, %{{.*}} : tensor<?x?x8xf32>, tensor<?x?xi32> -> tensor<100x8xf32>
  %1 = nn.lookup_grad %x, %ids : tensor<?x?x8xf32>, tensor<?x?xi32> -> tensor<100x8xf32>
  // CHECK-NEXT: nn.pick %{{.*}}, %{{.*}} : tensor<?x?x8xf32>, tensor<?x?xi32> -> tensor<?x?x1xf32>
  %2 = nn.pick %x, %ids : tensor<?x?x8xf32>, tensor<?x?xi32> -> tensor<?x?x1xf32>
  // CHECK-NEXT: nn.place %{{.*}}, %{{.*}} : tensor<?x?x1xf32>, tensor<?x?xi32> -> tensor<?x?x8xf32>
  %3 = nn.place %c, %ids : tensor<?x?x1xf32>, tensor<?x?xi32> -> tensor<?x?x8xf32>
  // CHECK-NEXT: nn.is_index %{{.*}} : tensor<?x?xi32> -> tensor<?x?x1xf32>
  %4 = nn.is_index %ids : tensor<?x?xi32> -> tensor<?x?x1xf32>
  return
}

// CHECK-LABEL: func.func @map
func.func @map(%x: tensor<?x?x8xf32>, %w: tensor<8xf32>) -> (tensor<?x?x8xf32>, tensor<8xf32>) {
  // CHECK: %{{.*}}:2 = nn.map rows 2(%{{.*}}, %{{.*}}) operand_rows [true, false] result_rows [true, false] {
  // GENERIC: "nn.map"(%{{.*}}, %{{.*}}) <{operand_rows = array<i1: true, false>, result_rows = array<i1: true, false>, row_rank = 2 : i64}>
  %y, %s = nn.map rows 2 (%x, %w) operand_rows [true, false] result_rows [true, false] {
  ^bb0(%a: tensor<8xf32>, %b: tensor<8xf32>):
    %p = nn.mul %a, %b : tensor<8xf32>, tensor<8xf32>
    // CHECK: nn.yield %{{.*}}, %{{.*}} : tensor<8xf32>, tensor<8xf32>
    nn.yield %p, %a : tensor<8xf32>, tensor<8xf32>
  } : (tensor<?x?x8xf32>, tensor<8xf32>) -> (tensor<?x?x8xf32>, tensor<8xf32>)
  return %y, %s : tensor<?x?x8xf32>, tensor<8xf32>
}

// CHECK-LABEL: func.func @last_rows
func.func @last_rows(%x: tensor<?x?x8xf32>, %past: tensor<?x3x8xf32>) -> (tensor<?x1x8xf32>, tensor<?x3x8xf32>) {
  // CHECK: nn.last_rows %{{.*}} : tensor<?x?x8xf32> -> tensor<?x1x8xf32>
  // GENERIC: "nn.last_rows"(%{{.*}}) : (tensor<?x?x8xf32>) -> tensor<?x1x8xf32>
  %y = nn.last_rows %x : tensor<?x?x8xf32> -> tensor<?x1x8xf32>
  // CHECK: nn.last_rows %{{.*}} after %{{.*}} : tensor<?x?x8xf32>, tensor<?x3x8xf32> -> tensor<?x3x8xf32>
  %z = nn.last_rows %x after %past : tensor<?x?x8xf32>, tensor<?x3x8xf32> -> tensor<?x3x8xf32>
  return %y, %z : tensor<?x1x8xf32>, tensor<?x3x8xf32>
}

// CHECK-LABEL: func.func @cast_rows
func.func @cast_rows(%x: tensor<?x64x8xf32>) -> tensor<?x64x8xf32> {
  // CHECK: nn.cast_rows %{{.*}} : tensor<?x64x8xf32> -> tensor<?x?x8xf32>
  // GENERIC: "nn.cast_rows"(%{{.*}}) : (tensor<?x64x8xf32>) -> tensor<?x?x8xf32>
  %y = nn.cast_rows %x : tensor<?x64x8xf32> -> tensor<?x?x8xf32>
  %z = nn.cast_rows %y : tensor<?x?x8xf32> -> tensor<?x64x8xf32>
  return %z : tensor<?x64x8xf32>
}

// CHECK-LABEL: func.func @blocks
func.func @blocks(%x: tensor<?x?x8xf32>, %w: tensor<40x8xf32>) -> (tensor<?x?x1xf32>, tensor<40x8xf32>) {
  // CHECK: %{{.*}}:2 = nn.blocks @blocks.rows 4(%{{.*}}, %{{.*}}) : (tensor<?x?x8xf32>, tensor<40x8xf32>) -> (tensor<?x?x1xf32>, tensor<40x8xf32>)
  // GENERIC: "nn.blocks"(%{{.*}}, %{{.*}}) <{callee = @blocks.rows, count = 4 : i64}>
  %m, %g = nn.blocks @blocks.rows 4 (%x, %w) : (tensor<?x?x8xf32>, tensor<40x8xf32>) -> (tensor<?x?x1xf32>, tensor<40x8xf32>)
  return %m, %g : tensor<?x?x1xf32>, tensor<40x8xf32>
}
func.func private @blocks.rows(%x: tensor<?x?x8xf32>, %w: tensor<40x8xf32>) -> (tensor<?x?x1xf32>, tensor<40x8xf32>) {
  %y = nn.dot %x, %w contract [2] x [1] : tensor<?x?x8xf32>, tensor<40x8xf32>
  %m = nn.reduce_max %y [2] : tensor<?x?x40xf32>
  %g = nn.dot %y, %x contract [0, 1] x [0, 1] : tensor<?x?x40xf32>, tensor<?x?x8xf32>
  return %m, %g : tensor<?x?x1xf32>, tensor<40x8xf32>
}
