// RUN: tidegate-opt %s -nn-storage | FileCheck %s

// Activations are kept in bfloat16, weights, their gradients and narrow rows in
// float; a product gets its weight from a map that casts it, once for both products.

// CHECK-LABEL: func.func private @layer
// CHECK: %[[CAST:.*]] = nn.map rows 1(%arg1) operand_rows [true] result_rows [true] {
// CHECK: } {nn.storage = [f32, bf16]} : (tensor<128x64xf32>) -> tensor<128x64xf32>
// CHECK-NOT: nn.map
// CHECK: %[[Y:.*]] = nn.dot %arg0, %[[CAST]] {{.*}} {nn.storage = [bf16, bf16, bf16]}
// CHECK: %[[X:.*]] = nn.dot %[[Y]], %[[CAST]] {{.*}} {nn.storage = [bf16, bf16, bf16]}
// CHECK: nn.dot %[[Y]], %arg0 {{.*}} {nn.storage = [bf16, bf16, f32]}
// CHECK: nn.dot %arg0, %{{.*}} {nn.storage = [bf16, bf16, f32]} : tensor<?x?x64xf32>, tensor<8x64xf32>
func.func private @layer(%x: tensor<?x?x64xf32>, %w: tensor<128x64xf32>, %narrow: tensor<8x64xf32>)
    -> (tensor<?x?x64xf32>, tensor<128x64xf32>, tensor<?x?x8xf32>) {
  %y = nn.dot %x, %w contract [2] x [1] : tensor<?x?x64xf32>, tensor<128x64xf32>
  %dx = nn.dot %y, %w contract [2] x [0] : tensor<?x?x128xf32>, tensor<128x64xf32>
  %dw = nn.dot %y, %x contract [0, 1] x [0, 1] : tensor<?x?x128xf32>, tensor<?x?x64xf32>
  %n = nn.dot %x, %narrow contract [2] x [1] : tensor<?x?x64xf32>, tensor<8x64xf32>
  return %dx, %dw, %n : tensor<?x?x64xf32>, tensor<128x64xf32>, tensor<?x?x8xf32>
}

// What the caller of an entry function gives and gets is kept as it is.
// CHECK-LABEL: func.func @entry
// CHECK: nn.map
// CHECK: call @layer(%{{.*}}) {nn.storage = [bf16, f32, f32, bf16, f32, f32]}
// CHECK: {nn.storage = [bf16, f32]} : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32>
func.func @entry(%x: tensor<?x?x64xf32>, %w: tensor<128x64xf32>, %n: tensor<8x64xf32>) -> tensor<?x?x64xf32> {
  %in = nn.map rows 2 (%x) operand_rows [true] result_rows [true] {
  ^bb0(%r: tensor<64xf32>):
    nn.yield %r : tensor<64xf32>
  } : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32>
  %y:3 = call @layer(%in, %w, %n) : (tensor<?x?x64xf32>, tensor<128x64xf32>, tensor<8x64xf32>) -> (tensor<?x?x64xf32>, tensor<128x64xf32>, tensor<?x?x8xf32>)
  %out = nn.map rows 2 (%y#0) operand_rows [true] result_rows [true] {
  ^bb0(%r: tensor<64xf32>):
    nn.yield %r : tensor<64xf32>
  } : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32>
  return %out : tensor<?x?x64xf32>
}

// In a step of a loop what a product reads is kept in bfloat16, but for states, which are cast before it.
// CHECK-LABEL: func.func @loop
// CHECK: rec.loop {{.*}} {nn.storage = [bf16, bf16, f32, f32]}
// CHECK-LABEL: func.func private @loop.step
// CHECK: %[[CAST:.*]] = nn.map rows 2(%arg1) {{.*}} {
// CHECK: {nn.storage = [f32, bf16]} : (tensor<?x64x64xf32>) -> tensor<?x64x64xf32>
// CHECK: nn.dot %arg0, %[[CAST]] {{.*}} {nn.storage = [bf16, bf16, bf16]}
// CHECK: %[[G:.*]] = nn.dot %arg0, %arg0 {{.*}} {nn.storage = [bf16, bf16, bf16]}
// CHECK: nn.dot %[[G]], %[[G]] {{.*}} {nn.storage = [bf16, bf16, f32]}
func.func @loop(%in: tensor<?x?x2x64xf32>) -> tensor<?x?x2x64xf32> {
  %x = nn.map rows 2 (%in) operand_rows [true] result_rows [true] {
  ^bb0(%r: tensor<2x64xf32>):
    nn.yield %r : tensor<2x64xf32>
  } : (tensor<?x?x2x64xf32>) -> tensor<?x?x2x64xf32>
  %o, %s, %e = rec.loop @loop.step last @loop.step save_states chunk 64 (%x : tensor<?x?x2x64xf32>) kinds [0] out_kinds [0] heads [2] states 1
      -> tensor<?x?x2x64xf32>, tensor<?x2x64x64xf32>, tensor<?x?x2x64x64xf32>
  %out = nn.map rows 2 (%o) operand_rows [true] result_rows [true] {
  ^bb0(%r: tensor<2x64xf32>):
    nn.yield %r : tensor<2x64xf32>
  } : (tensor<?x?x2x64xf32>) -> tensor<?x?x2x64xf32>
  return %out : tensor<?x?x2x64xf32>
}
func.func private @loop.step(%x: tensor<?x?x64xf32>, %S: tensor<?x64x64xf32>) -> (tensor<?x?x64xf32>, tensor<?x64x64xf32>) {
  %y = nn.dot %x, %S batch [0] x [0] contract [2] x [1] : tensor<?x?x64xf32>, tensor<?x64x64xf32>
  %g = nn.dot %x, %x batch [0] x [0] contract [1] x [1] : tensor<?x?x64xf32>, tensor<?x?x64xf32>
  %next = nn.dot %g, %g batch [0] x [0] contract [2] x [1] : tensor<?x64x64xf32>, tensor<?x64x64xf32>
  return %y, %next : tensor<?x?x64xf32>, tensor<?x64x64xf32>
}

// A weight that blocks of rows read is cast before the first of them. Its gradient stays in float.
// CHECK-LABEL: func.func @blocks
// CHECK: %[[CAST:.*]] = nn.map rows 1(%arg1)
// CHECK: {nn.storage = [f32, bf16]} : (tensor<128x64xf32>) -> tensor<128x64xf32>
// CHECK: nn.blocks @blocks.rows 2(%{{.*}}, %[[CAST]]) {nn.storage = [bf16, bf16, bf16, f32]}
// CHECK-LABEL: func.func private @blocks.rows
// CHECK-NOT: nn.map
// CHECK: nn.dot %arg0, %arg1 {{.*}} {nn.storage = [bf16, bf16, bf16]}
// CHECK: nn.dot %{{.*}}, %arg1 {{.*}} {nn.storage = [bf16, bf16, bf16]}
// CHECK: nn.dot %{{.*}}, %arg0 {{.*}} {nn.storage = [bf16, bf16, f32]}
func.func @blocks(%in: tensor<?x?x64xf32>, %w: tensor<128x64xf32>) -> (tensor<?x?x64xf32>, tensor<128x64xf32>) {
  %x = nn.map rows 2 (%in) operand_rows [true] result_rows [true] {
  ^bb0(%r: tensor<64xf32>):
    nn.yield %r : tensor<64xf32>
  } : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32>
  %y:2 = nn.blocks @blocks.rows 2 (%x, %w) : (tensor<?x?x64xf32>, tensor<128x64xf32>) -> (tensor<?x?x64xf32>, tensor<128x64xf32>)
  %out = nn.map rows 2 (%y#0) operand_rows [true] result_rows [true] {
  ^bb0(%r: tensor<64xf32>):
    nn.yield %r : tensor<64xf32>
  } : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32>
  return %out, %y#1 : tensor<?x?x64xf32>, tensor<128x64xf32>
}
func.func private @blocks.rows(%x: tensor<?x?x64xf32>, %w: tensor<128x64xf32>) -> (tensor<?x?x64xf32>, tensor<128x64xf32>) {
  %y = nn.dot %x, %w contract [2] x [1] : tensor<?x?x64xf32>, tensor<128x64xf32>
  %dx = nn.dot %y, %w contract [2] x [0] : tensor<?x?x128xf32>, tensor<128x64xf32>
  %dw = nn.dot %y, %x contract [0, 1] x [0, 1] : tensor<?x?x128xf32>, tensor<?x?x64xf32>
  return %dx, %dw : tensor<?x?x64xf32>, tensor<128x64xf32>
}

// What a caller has and wants in bfloat16 is kept so, a gate too, which would be in float otherwise.
// CHECK-LABEL: func.func @of_caller
// CHECK: rec.scan
// CHECK: nn.storage = [bf16, bf16, bf16]
// CHECK: nn.map
// CHECK: nn.storage = [bf16, f32]
func.func @of_caller(%v: tensor<?x?x2x64xf32> {nn.stored = bf16}, %g: tensor<?x?x2x64xf32> {nn.stored = bf16})
    -> (tensor<?x?x2x64xf32> {nn.stored = bf16}, tensor<?x?x2x64xf32>) {
  %o = rec.scan chunk 16 (%v, %g : tensor<?x?x2x64xf32>, tensor<?x?x2x64xf32>) kinds [0, 0] out_kinds [0] states 0 {
  ^bb0(%vc: tensor<16x64xf32>, %gc: tensor<16x64xf32>):
    %sum = rec.cumsum %gc : tensor<16x64xf32>
    %y = nn.mul %vc, %sum : tensor<16x64xf32>, tensor<16x64xf32>
    rec.yield %y : tensor<16x64xf32>
  } -> tensor<?x?x2x64xf32>
  %out = nn.map rows 2 (%o) operand_rows [true] result_rows [true] {
  ^bb0(%r: tensor<2x64xf32>):
    nn.yield %r : tensor<2x64xf32>
  } : (tensor<?x?x2x64xf32>) -> tensor<?x?x2x64xf32>
  return %o, %out : tensor<?x?x2x64xf32>, tensor<?x?x2x64xf32>
}

// Positions and their angles stay in float however wide, what is computed with them need not.
// CHECK-LABEL: func.func private @angles
// CHECK: nn.map
// CHECK: } {nn.storage = [i32, f32, f32, bf16]}
// CHECK: call @wave(%{{.*}}) {nn.storage = [f32, bf16]}
func.func private @angles(%t: tensor<?x?xi32>) -> (tensor<?x?x64xf32>, tensor<?x?x64xf32>, tensor<?x?x64xf32>) {
  %a, %b, %c = nn.map rows 2 (%t) operand_rows [true] result_rows [true, true, true] {
  ^bb0(%p: tensor<i32>):
    %f = nn.to_float %p : tensor<i32> -> tensor<f32>
    %i = nn.iota : tensor<64xf32>
    %angle = nn.angle %f, %i base 0.7 : tensor<f32>, tensor<64xf32>
    %half = nn.constant 0.5 : tensor<f32>
    %scaled = nn.mul %f, %half : tensor<f32>, tensor<f32>
    %own = nn.mul %scaled, %i : tensor<f32>, tensor<64xf32>
    %cos = nn.cos %angle : tensor<64xf32>
    nn.yield %angle, %own, %cos : tensor<64xf32>, tensor<64xf32>, tensor<64xf32>
  } : (tensor<?x?xi32>) -> (tensor<?x?x64xf32>, tensor<?x?x64xf32>, tensor<?x?x64xf32>)
  %w = call @wave(%a) : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32>
  return %w, %b, %c : tensor<?x?x64xf32>, tensor<?x?x64xf32>, tensor<?x?x64xf32>
}
func.func private @wave(%a: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
  %s = nn.map rows 2 (%a) operand_rows [true] result_rows [true] {
  ^bb0(%x: tensor<64xf32>):
    %y = nn.sin %x : tensor<64xf32>
    nn.yield %y : tensor<64xf32>
  } : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32>
  return %s : tensor<?x?x64xf32>
}

// In a function with nn.exact the result of a product is float, and what the product reads as elsewhere.
// CHECK-LABEL: func.func private @exact
// CHECK: nn.dot %arg0, %{{.*}} {nn.storage = [bf16, bf16, f32]} : tensor<?x?x64xf32>, tensor<128x64xf32>
// CHECK: nn.map rows 2({{.*}} {
// CHECK: } {nn.storage = [f32, f32]}
func.func private @exact(%x: tensor<?x?x64xf32>, %w: tensor<128x64xf32>) -> tensor<?x?x1xf32> attributes {nn.exact} {
  %z = nn.dot %x, %w contract [2] x [1] : tensor<?x?x64xf32>, tensor<128x64xf32>
  %m = nn.map rows 2 (%z) operand_rows [true] result_rows [true] {
  ^bb0(%r: tensor<128xf32>):
    %max = nn.reduce_max %r [0] : tensor<128xf32>
    nn.yield %max : tensor<1xf32>
  } : (tensor<?x?x128xf32>) -> tensor<?x?x1xf32>
  return %m : tensor<?x?x1xf32>
}
