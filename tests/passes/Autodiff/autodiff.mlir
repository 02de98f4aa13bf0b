// RUN: tidegate-opt %s -split-input-file -autodiff | FileCheck %s
// RUN: tidegate-opt %s -split-input-file -autodiff=policy=block | FileCheck %s --check-prefix=BLOCK

// A product is kept, the sigmoid of it is computed again.

// CHECK-LABEL: func.func private @products_are_saved.fwd(
// CHECK:         %[[DOT:.*]] = nn.dot
// CHECK:         %[[Y:.*]] = nn.sigmoid %[[DOT]]
// CHECK:         return %[[Y]], %[[DOT]] :
// CHECK-LABEL: func.func private @products_are_saved.bwd(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x?x8xf32>, %[[W:[^:]*]]: tensor<4x8xf32>, %[[SAVED:[^:]*]]: tensor<?x?x4xf32>,
// CHECK-SAME:    %[[DY:[^:]*]]: tensor<?x?x4xf32>) -> (tensor<?x?x8xf32>, tensor<4x8xf32>)
// CHECK-SAME:    nn.gradient = {arguments = array<i64: 0, 1>, results = array<i64>}
// CHECK-NOT:     nn.dot
// CHECK:         nn.sigmoid %[[SAVED]]
// CHECK:         %[[DDOT:.*]] = nn.mul %[[DY]]
// CHECK-DAG:     %[[DX:.*]] = nn.dot %[[DDOT]], %[[W]] contract [2] x [0]
// CHECK-DAG:     %[[DW:.*]] = nn.dot %[[DDOT]], %[[X]] contract [0, 1] x [0, 1]
// CHECK:         return %[[DX]], %[[DW]]
func.func @products_are_saved(%x: tensor<?x?x8xf32>, %w: tensor<4x8xf32>) -> tensor<?x?x4xf32> {
  %z = nn.dot %x, %w contract [2] x [1] : tensor<?x?x8xf32>, tensor<4x8xf32>
  %y = nn.sigmoid %z : tensor<?x?x4xf32>
  return %y : tensor<?x?x4xf32>
}

// -----

// What nobody needs again is not kept: the gradient of a linear map needs its
// arguments only, and only those that enter it.

// CHECK-LABEL: func.func private @linear_keeps_nothing.fwd(
// CHECK:         return %{{[^,]*}} : tensor<?x?x4xf32>
// CHECK-LABEL: func.func private @linear_keeps_nothing.bwd(
// CHECK-SAME:    %{{[^:]*}}: tensor<?x?x8xf32>, %{{[^:]*}}: tensor<4x8xf32>, %{{[^:]*}}: tensor<?x?x4xf32>)
// CHECK-SAME:    nn.gradient = {arguments = array<i64: 0, 1>, results = array<i64>}
// CHECK:         return %[[DX:.*]], %[[DW:.*]], %[[DB:.*]] :
func.func @linear_keeps_nothing(%x: tensor<?x?x8xf32>, %w: tensor<4x8xf32>, %b: tensor<4xf32>) -> tensor<?x?x4xf32> {
  %z = nn.dot %x, %w contract [2] x [1] : tensor<?x?x8xf32>, tensor<4x8xf32>
  %y = nn.add %z, %b : tensor<?x?x4xf32>, tensor<4xf32>
  return %y : tensor<?x?x4xf32>
}

// -----

// A product that is a result already is not returned twice.

// CHECK-LABEL: func.func private @results_serve_as_residuals.fwd(
// CHECK:         return %{{[^,]*}}, %{{[^,]*}} :
// CHECK-LABEL: func.func private @results_serve_as_residuals.bwd(
// CHECK-SAME:    nn.gradient = {arguments = array<i64: 0, 1>, results = array<i64: 1>}
func.func @results_serve_as_residuals(%x: tensor<3x8xf32>, %w: tensor<4x8xf32>) -> (tensor<3x4xf32>, tensor<3x4xf32>) {
  %z = nn.dot %x, %w contract [1] x [1] : tensor<3x8xf32>, tensor<4x8xf32>
  %y = nn.sin %z : tensor<3x4xf32>
  return %y, %z : tensor<3x4xf32>, tensor<3x4xf32>
}

// -----

// CHECK-LABEL: func.func private @zeros_where_nothing_reaches.bwd(
// CHECK-SAME:    %[[A:[^:]*]]: tensor<?x?x2xf32>, %[[DY:[^:]*]]: tensor<?x?x2xf32>)
// CHECK-DAG:     %[[Z3:.*]] = nn.constant 0.000000e+00 : tensor<3xf32>
// CHECK-DAG:     %[[ZA:.*]] = nn.broadcast_like %{{.*}}, %[[A]]
// CHECK:         return %[[ZA]], %[[DY]], %[[Z3]] :
func.func @zeros_where_nothing_reaches(%a: tensor<?x?x2xf32>, %b: tensor<?x?x2xf32>, %ids: tensor<?x?xi32>,
                                       %c: tensor<3xf32>) -> tensor<?x?x2xf32> {
  %s = nn.stop_gradient %a : tensor<?x?x2xf32>
  %y = nn.add %s, %b : tensor<?x?x2xf32>, tensor<?x?x2xf32>
  return %y : tensor<?x?x2xf32>
}

// -----

// A scan keeps the states at the entry of its steps; the reverse scan reads them.

// CHECK-LABEL: func.func private @scans_save_entry_states.fwd(
// CHECK:         %[[S:.*]]:3 = rec.scan save_states chunk 1
// CHECK:         return %[[S]]#0, %[[S]]#2 :
// CHECK-LABEL: func.func private @scans_save_entry_states.bwd(
// CHECK-SAME:    %[[A:[^:]*]]: tensor<?x?x2x4xf32>, %[[K:[^:]*]]: tensor<?x?x2x4xf32>,
// CHECK-SAME:    %[[ENTRY:[^:]*]]: tensor<?x?x2x4xf32>, %[[DO:[^:]*]]: tensor<?x?x2x4xf32>)
// CHECK:         rec.scan reverse chunk 1(%[[A]], %[[K]], %[[ENTRY]], %[[DO]] :
// CHECK-SAME:    kinds [0, 0, 1, 0] out_kinds [0, 0] states 1
// CHECK-NOT:     rec.scan
// CHECK:         return
func.func @scans_save_entry_states(%a: tensor<?x?x2x4xf32>, %k: tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32> {
  %o, %s = rec.scan chunk 1 (%a, %k : tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>)
      kinds [0, 0] out_kinds [0] states 1 {
  ^bb0(%at: tensor<4xf32>, %kt: tensor<4xf32>, %S: tensor<4xf32>):
    %d = nn.mul %at, %S : tensor<4xf32>, tensor<4xf32>
    %next = nn.add %d, %kt : tensor<4xf32>, tensor<4xf32>
    rec.yield %next, %next : tensor<4xf32>, tensor<4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4xf32>
  return %o : tensor<?x?x2x4xf32>
}

// -----

// CHECK-LABEL: func.func private @unreached_scans_save_nothing.fwd(
// CHECK:         rec.scan chunk 1
// CHECK-LABEL: func.func private @unreached_scans_save_nothing.bwd(
// CHECK-NOT:     rec.scan
// CHECK:         return
func.func @unreached_scans_save_nothing(%k: tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32> {
  %o, %s = rec.scan chunk 1 (%k : tensor<?x?x2x4xf32>) kinds [0] out_kinds [0] states 1 {
  ^bb0(%kt: tensor<4xf32>, %S: tensor<4xf32>):
    %next = nn.add %S, %kt : tensor<4xf32>, tensor<4xf32>
    rec.yield %next, %next : tensor<4xf32>, tensor<4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4xf32>
  %c = nn.stop_gradient %o : tensor<?x?x2x4xf32>
  %y = nn.add %c, %k : tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>
  return %y : tensor<?x?x2x4xf32>
}

// -----

// A function called twice is differentiated once. With `block` a call keeps
// only its arguments and runs its forward again.

// CHECK-LABEL: func.func private @layer.fwd(
// CHECK:         return %{{[^,]*}}, %{{[^,]*}} :
// CHECK-LABEL: func.func private @layer.bwd(
// CHECK-NOT:   func.func private @layer.
// CHECK-LABEL: func.func private @calls_are_followed.fwd(
// CHECK:         %[[ONE:.*]]:2 = call @layer.fwd(
// CHECK:         %[[TWO:.*]]:2 = call @layer.fwd(%[[ONE]]#0,
// CHECK:         return %[[TWO]]#0, %[[ONE]]#0, %[[ONE]]#1, %[[TWO]]#1 :
// CHECK-LABEL: func.func private @calls_are_followed.bwd(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<3x4xf32>, %[[W:[^:]*]]: tensor<4x4xf32>, %[[X1:[^:]*]]: tensor<3x4xf32>,
// CHECK-SAME:    %[[R1:[^:]*]]: tensor<3x4xf32>, %[[R2:[^:]*]]: tensor<3x4xf32>, %[[DY:[^:]*]]: tensor<3x4xf32>)
// CHECK:         %[[B2:.*]]:2 = call @layer.bwd(%[[X1]], %[[W]], %[[R2]], %[[DY]])
// CHECK:         %[[B1:.*]]:2 = call @layer.bwd(%[[X]], %[[W]], %[[R1]], %[[B2]]#0)
// CHECK:         %[[DW:.*]] = nn.add %[[B2]]#1, %[[B1]]#1
// CHECK:         return %[[B1]]#0, %[[DW]]

// BLOCK-LABEL: func.func private @calls_are_followed.fwd(
// BLOCK:         %[[ONE:.*]] = call @layer(
// BLOCK:         %[[TWO:.*]] = call @layer(%[[ONE]],
// BLOCK:         return %[[TWO]], %[[ONE]] :
// BLOCK-LABEL: func.func private @calls_are_followed.bwd(
// BLOCK-SAME:    %[[X:[^:]*]]: tensor<3x4xf32>, %[[W:[^:]*]]: tensor<4x4xf32>, %[[X1:[^:]*]]: tensor<3x4xf32>,
// BLOCK-SAME:    %[[DY:[^:]*]]: tensor<3x4xf32>)
// BLOCK:         %[[F2:.*]]:2 = call @layer.fwd(%[[X1]], %[[W]])
// BLOCK:         %[[B2:.*]]:2 = call @layer.bwd(%[[X1]], %[[W]], %[[F2]]#1, %[[DY]])
// BLOCK:         %[[F1:.*]]:2 = call @layer.fwd(%[[X]], %[[W]])
// BLOCK:         call @layer.bwd(%[[X]], %[[W]], %[[F1]]#1, %[[B2]]#0)
func.func private @layer(%x: tensor<3x4xf32>, %w: tensor<4x4xf32>) -> tensor<3x4xf32> {
  %z = nn.dot %x, %w contract [1] x [1] : tensor<3x4xf32>, tensor<4x4xf32>
  %y = nn.sin %z : tensor<3x4xf32>
  return %y : tensor<3x4xf32>
}
func.func @calls_are_followed(%x: tensor<3x4xf32>, %w: tensor<4x4xf32>) -> tensor<3x4xf32> {
  %1 = call @layer(%x, %w) : (tensor<3x4xf32>, tensor<4x4xf32>) -> tensor<3x4xf32>
  %2 = call @layer(%1, %w) : (tensor<3x4xf32>, tensor<4x4xf32>) -> tensor<3x4xf32>
  return %2 : tensor<3x4xf32>
}
