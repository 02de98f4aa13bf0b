// RUN: tidegate-opt %s --nn-documents | FileCheck %s

// A layer that looks along time gets the positions; it is called twice, and changed once.
// CHECK-LABEL: func.func private @layer
// CHECK-SAME:    (%[[X:.*]]: tensor<?x?x2x4xf32>, %[[POS:.*]]: tensor<?x?xi32> {nn.name = "positions"})
func.func private @layer(%x: tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32> {
  // CHECK-DAG:  %[[ZERO:.*]] = nn.constant 0.000000e+00 : tensor<2xf32>
  // CHECK-DAG:  %[[ONES:.*]] = nn.is_index %[[POS]] : tensor<?x?xi32> -> tensor<?x?x1xf32>
  // CHECK-DAG:  %[[FIRST:.*]] = nn.place %[[ONES]], %[[POS]] : tensor<?x?x1xf32>, tensor<?x?xi32> -> tensor<?x?x1xf32>
  // CHECK-DAG:  %[[FLAGS:.*]] = nn.add %[[FIRST]], %[[ZERO]]
  // CHECK:      rec.scan chunk 1(%[[X]], %[[FLAGS]] : tensor<?x?x2x4xf32>, tensor<?x?x2xf32>) kinds [0, 0]
  // CHECK-NEXT: ^bb0(%[[XT:.*]]: tensor<4xf32>, %[[F:.*]]: tensor<f32>, %[[S:.*]]: tensor<4xf32>):
  // CHECK-NEXT:   %[[R:.*]] = rec.reset %[[S]], %[[F]] : tensor<4xf32>, tensor<f32>
  // CHECK-NEXT:   nn.add %[[R]], %[[XT]]
  %o, %s = rec.scan chunk 1 (%x : tensor<?x?x2x4xf32>) kinds [0] out_kinds [0] states 1 {
  ^bb0(%xt: tensor<4xf32>, %s: tensor<4xf32>):
    %next = nn.add %s, %xt : tensor<4xf32>, tensor<4xf32>
    rec.yield %next, %next : tensor<4xf32>, tensor<4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4xf32>
  return %o : tensor<?x?x2x4xf32>
}

// CHECK-LABEL: func.func private @row_wise(%{{.*}}: tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
func.func private @row_wise(%x: tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32> {
  %y = nn.exp %x : tensor<?x?x2x4xf32>
  return %y : tensor<?x?x2x4xf32>
}

// CHECK-LABEL: func.func @model
// CHECK-SAME:    (%{{.*}}: tensor<?x?x2x4xf32>, %[[POS:.*]]: tensor<?x?xi32> {nn.name = "positions"})
func.func @model(%x: tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32> {
  // CHECK: %[[A:.*]] = call @layer(%{{.*}}, %[[POS]])
  %a = call @layer(%x) : (tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  // CHECK: %[[B:.*]] = call @row_wise(%[[A]])
  %b = call @row_wise(%a) : (tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  // CHECK: call @layer(%[[B]], %[[POS]])
  %c = call @layer(%b) : (tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  return %c : tensor<?x?x2x4xf32>
}

// The entry's own argument of that name serves; a scan that starts from a value
// starts anew from it, one that starts from zeros from zero.
// CHECK-LABEL: func.func @own_positions
// CHECK-SAME:    (%[[POS:.*]]: tensor<?x?xi32> {nn.name = "positions"}, %[[X:.*]]: tensor<?x?x1x4xf32>, %[[W:.*]]: tensor<?x1x4xf32>, %[[C:.*]]: tensor<?x?x4xf32>, %[[T:.*]]: tensor<4x3xf32>)
func.func @own_positions(%p: tensor<?x?xi32> {nn.name = "positions"}, %x: tensor<?x?x1x4xf32>, %w: tensor<?x1x4xf32>,
                         %c: tensor<?x?x4xf32>, %taps: tensor<4x3xf32>) -> (tensor<?x?x1x4xf32>, tensor<?x?x4xf32>) {
  %zero = nn.constant 0.0 : tensor<f32>
  %zeros = nn.broadcast_like %zero, %w : tensor<f32>, tensor<?x1x4xf32> -> tensor<?x1x4xf32>
  // CHECK: rec.scan chunk 1(%[[X]], %{{.*}}, %[[W]] :
  // CHECK-SAME: init(%[[W]], %{{.*}} : {{.*}}) kinds [0, 0, 4]
  // CHECK: rec.reset %{{.*}}, %{{.*}} to %{{.*}} : tensor<4xf32>, tensor<f32>, tensor<4xf32>
  // CHECK: rec.reset %{{.*}}, %{{.*}} : tensor<4xf32>, tensor<f32>
  %o, %s:2 = rec.scan chunk 1 (%x : tensor<?x?x1x4xf32>) init (%w, %zeros : tensor<?x1x4xf32>, tensor<?x1x4xf32>)
      kinds [0] out_kinds [0] states 2 {
  ^bb0(%xt: tensor<4xf32>, %s: tensor<4xf32>, %z: tensor<4xf32>):
    %n1 = nn.add %s, %xt : tensor<4xf32>, tensor<4xf32>
    %n2 = nn.add %z, %n1 : tensor<4xf32>, tensor<4xf32>
    rec.yield %n2, %n1, %n2 : tensor<4xf32>, tensor<4xf32>, tensor<4xf32>
  } -> tensor<?x?x1x4xf32>, tensor<?x1x4xf32>, tensor<?x1x4xf32>
  // CHECK: nn.short_conv %[[C]], %[[T]] at(%[[POS]] : tensor<?x?xi32>)
  %y, %next = nn.short_conv %c, %taps : tensor<?x?x4xf32>, tensor<4x3xf32>
  return %o, %y : tensor<?x?x1x4xf32>, tensor<?x?x4xf32>
}

// A scan over chunks is left alone, as is one without a state.
// CHECK-LABEL: func.func @untouched
func.func @untouched(%x: tensor<?x?x1x4xf32>) -> (tensor<?x?x1x4xf32>, tensor<?x?x1x4xf32>) {
  // CHECK: rec.scan chunk 8(%{{[^,]*}} : tensor<?x?x1x4xf32>) kinds [0]
  %o, %s = rec.scan chunk 8 (%x : tensor<?x?x1x4xf32>) kinds [0] out_kinds [0] states 1 {
  ^bb0(%xs: tensor<8x4xf32>, %s: tensor<4xf32>):
    %y = nn.add %xs, %s : tensor<8x4xf32>, tensor<4xf32>
    rec.yield %y, %s : tensor<8x4xf32>, tensor<4xf32>
  } -> tensor<?x?x1x4xf32>, tensor<?x1x4xf32>
  // CHECK: rec.scan chunk 1(%{{[^,]*}} : tensor<?x?x1x4xf32>) kinds [0]
  %e = rec.scan chunk 1 (%x : tensor<?x?x1x4xf32>) kinds [0] out_kinds [0] states 0 {
  ^bb0(%xt: tensor<4xf32>):
    rec.yield %xt : tensor<4xf32>
  } -> tensor<?x?x1x4xf32>
  return %o, %e : tensor<?x?x1x4xf32>, tensor<?x?x1x4xf32>
}

// Attention stops where documents begin, and positions count from there.
// CHECK-LABEL: func.func @attends
// CHECK-SAME:    (%[[X:.*]]: tensor<?x?x1x4xf32>, %[[POS:.*]]: tensor<?x?xi32> {nn.name = "positions"})
func.func @attends(%x: tensor<?x?x1x4xf32>) -> (tensor<?x?x1x4xf32>, tensor<?x?xf32>) {
  // CHECK: %[[F:.*]] = nn.to_float %[[POS]]
  %p, %n = nn.positions %x : tensor<?x?x1x4xf32>
  %f = nn.to_float %p : tensor<?x?xi32> -> tensor<?x?xf32>
  // CHECK: %[[O:.*]], %{{.*}}, %{{.*}}, %{{.*}} = nn.attention %[[X]], %[[X]], %[[X]] window 8 at(%[[POS]] : tensor<?x?xi32>)
  %o, %l, %nk, %nv = nn.attention %x, %x, %x window 8 : tensor<?x?x1x4xf32>, tensor<?x?x1x4xf32>, tensor<?x?x1x4xf32>
  // CHECK: return %[[O]], %[[F]]
  return %o, %f : tensor<?x?x1x4xf32>, tensor<?x?xf32>
}
