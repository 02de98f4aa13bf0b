// RUN: tidegate-opt %s -split-input-file -rec-expose-states -verify-diagnostics | FileCheck %s

// A layer with two scans, called twice, gives the model four states; a scan that
// has its own initial state starts from it in the first call only.

// CHECK-LABEL: func.func private @layer(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x?x2x4xf32>, %[[A:[^:]*]]: tensor<?x2x4xf32> {nn.state = "state.0"}, %[[B:[^:]*]]: tensor<?x2xf32> {nn.state = "state.1"})
// CHECK-SAME:    -> (tensor<?x?x2x4xf32>, tensor<?x2x4xf32> {nn.state = "state.0"}, tensor<?x2xf32> {nn.state = "state.1"})
// CHECK:         %[[S:.*]]:2 = rec.scan chunk 1(%[[X]] : {{.*}}) init(%[[A]] : tensor<?x2x4xf32>)
// CHECK:         %[[T:.*]] = rec.scan chunk 1(%[[X]] : {{.*}}) init(%[[B]] : tensor<?x2xf32>)
// CHECK:         return %[[S]]#0, %[[S]]#1, %[[T]]
func.func private @layer(%x: tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32> {
  %o, %s = rec.scan chunk 1 (%x : tensor<?x?x2x4xf32>) kinds [0] out_kinds [0] states 1 {
  ^bb0(%xt: tensor<4xf32>, %S: tensor<4xf32>):
    %n = nn.add %S, %xt : tensor<4xf32>, tensor<4xf32>
    rec.yield %n, %n : tensor<4xf32>, tensor<4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4xf32>
  %t = rec.scan chunk 1 (%x : tensor<?x?x2x4xf32>) kinds [0] out_kinds [] states 1 {
  ^bb0(%xt: tensor<4xf32>, %S: tensor<f32>):
    %0 = nn.reduce_sum %xt [0] : tensor<4xf32>
    %1 = nn.reshape %0 : tensor<1xf32> -> tensor<f32>
    %n = nn.add %S, %1 : tensor<f32>, tensor<f32>
    rec.yield %n : tensor<f32>
  } -> tensor<?x2xf32>
  return %o : tensor<?x?x2x4xf32>
}

// CHECK-LABEL: func.func @model(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x?x2x4xf32> {nn.weight = "w"}, %[[INIT:[^:]*]]: tensor<?x2x4xf32>,
// CHECK-SAME:    %[[A0:[^:]*]]: tensor<?x2x4xf32> {nn.state = "layer.0.state.0"}, %[[B0:[^:]*]]: tensor<?x2xf32> {nn.state = "layer.0.state.1"},
// CHECK-SAME:    %[[A1:[^:]*]]: tensor<?x2x4xf32> {nn.state = "layer.1.state.0"}, %[[B1:[^:]*]]: tensor<?x2xf32> {nn.state = "layer.1.state.1"},
// CHECK-SAME:    %[[ST:[^:]*]]: tensor<?x2xf32> {nn.state = "state.0"}, %[[C:[^:]*]]: tensor<?x2x4xf32> {nn.state = "state.1"})
// CHECK:         %[[L0:.*]]:3 = call @layer(%[[X]], %[[A0]], %[[B0]])
// CHECK:         %[[L1:.*]]:3 = call @layer(%[[L0]]#0, %[[A1]], %[[B1]])
// CHECK:         %[[ONE:.*]] = nn.constant 1.0
// CHECK:         %[[STARTED:.*]] = nn.broadcast_like %[[ONE]], %[[ST]]
// CHECK:         %[[COL:.*]] = nn.reshape %[[ST]] : tensor<?x2xf32> -> tensor<?x2x1xf32>
// CHECK:         %[[FROM:.*]] = nn.select %[[COL]], %[[C]], %[[INIT]]
// CHECK:         %[[O:.*]]:2 = rec.scan chunk 1(%[[L1]]#0 : tensor<?x?x2x4xf32>) init(%[[FROM]] : tensor<?x2x4xf32>)
// CHECK:         return %[[O]]#0, %[[L0]]#1, %[[L0]]#2, %[[L1]]#1, %[[L1]]#2, %[[STARTED]], %[[O]]#1
func.func @model(%x: tensor<?x?x2x4xf32> {nn.weight = "w"}, %init: tensor<?x2x4xf32>) -> tensor<?x?x2x4xf32> {
  %0 = call @layer(%x) : (tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  %1 = call @layer(%0) : (tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  // expected-warning @below {{a state of this scan starts from a value of the tokens, of those that come first}}
  %o, %s = rec.scan chunk 1 (%1 : tensor<?x?x2x4xf32>) init (%init : tensor<?x2x4xf32>) kinds [0] out_kinds [0] states 1 {
  ^bb0(%xt: tensor<4xf32>, %S: tensor<4xf32>):
    %n = nn.add %S, %xt : tensor<4xf32>, tensor<4xf32>
    rec.yield %n, %n : tensor<4xf32>, tensor<4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4xf32>
  return %o : tensor<?x?x2x4xf32>
}

// CHECK-LABEL: func.func @not_reached(
// CHECK-SAME:    %{{[^:]*}}: tensor<?x?x2x4xf32>) -> tensor<?x2x4xf32>
func.func @not_reached(%x: tensor<?x?x2x4xf32>) -> tensor<?x2x4xf32> {
  %s = rec.scan chunk 1 (%x : tensor<?x?x2x4xf32>) kinds [0] out_kinds [] states 1 {
  ^bb0(%xt: tensor<4xf32>, %S: tensor<4xf32>):
    %n = nn.add %S, %xt : tensor<4xf32>, tensor<4xf32>
    rec.yield %n : tensor<4xf32>
  } -> tensor<?x2x4xf32>
  return %s : tensor<?x2x4xf32>
}

// -----

// expected-error @below {{has states to carry, but is also called from outside}}
func.func private @layer(%x: tensor<?x?x2x4xf32>) -> tensor<?x2x4xf32> {
  %s = rec.scan chunk 1 (%x : tensor<?x?x2x4xf32>) kinds [0] out_kinds [] states 1 {
  ^bb0(%xt: tensor<4xf32>, %S: tensor<4xf32>):
    %n = nn.add %S, %xt : tensor<4xf32>, tensor<4xf32>
    rec.yield %n : tensor<4xf32>
  } -> tensor<?x2x4xf32>
  return %s : tensor<?x2x4xf32>
}
func.func @model(%x: tensor<?x?x2x4xf32>) -> tensor<?x2x4xf32> {
  %0 = call @layer(%x) : (tensor<?x?x2x4xf32>) -> tensor<?x2x4xf32>
  return %0 : tensor<?x2x4xf32>
}
func.func @other(%x: tensor<?x?x2x4xf32>) -> tensor<?x2x4xf32> {
  // expected-note @below {{this call}}
  %0 = call @layer(%x) : (tensor<?x?x2x4xf32>) -> tensor<?x2x4xf32>
  return %0 : tensor<?x2x4xf32>
}

// -----

// expected-error @below {{expects a function 'model', but the module has none}}
module {
}

// -----

// The past of a convolution is a state; one that has a past of its own keeps it.

// CHECK-LABEL: func.func private @mixer(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x?x4xf32>, %[[W:[^:]*]]: tensor<4x3xf32>, %[[P:[^:]*]]: tensor<?x2x4xf32> {nn.state = "state.0"})
// CHECK-SAME:    -> (tensor<?x?x4xf32>, tensor<?x2x4xf32> {nn.state = "state.0"})
// CHECK:         %[[Y:.*]], %[[N:.*]] = nn.short_conv %[[X]], %[[W]] after %[[P]]
// CHECK:         return %[[Y]], %[[N]]
func.func private @mixer(%x: tensor<?x?x4xf32>, %w: tensor<4x3xf32>) -> tensor<?x?x4xf32> {
  %y, %next = nn.short_conv %x, %w : tensor<?x?x4xf32>, tensor<4x3xf32>
  return %y : tensor<?x?x4xf32>
}

// CHECK-LABEL: func.func @model(
// CHECK-SAME:    %[[P0:[^:]*]]: tensor<?x2x4xf32> {nn.state = "mixer.0.state.0"}, %[[P1:[^:]*]]: tensor<?x2x4xf32> {nn.state = "mixer.1.state.0"})
// CHECK:         %[[M0:.*]]:2 = call @mixer(%{{.*}}, %{{.*}}, %[[P0]])
// CHECK:         %[[M1:.*]]:2 = call @mixer(%[[M0]]#0, %{{.*}}, %[[P1]])
// CHECK:         %[[Z:.*]], %{{.*}} = nn.short_conv %[[M1]]#0, %{{.*}} after %{{.*}} :
// CHECK:         return %[[Z]], %[[M0]]#1, %[[M1]]#1
func.func @model(%x: tensor<?x?x4xf32>, %w: tensor<4x3xf32>, %past: tensor<?x2x4xf32>) -> tensor<?x?x4xf32> {
  %0 = call @mixer(%x, %w) : (tensor<?x?x4xf32>, tensor<4x3xf32>) -> tensor<?x?x4xf32>
  %1 = call @mixer(%0, %w) : (tensor<?x?x4xf32>, tensor<4x3xf32>) -> tensor<?x?x4xf32>
  // expected-warning @below {{the past of this convolution is a value of its own and is not carried}}
  %y, %next = nn.short_conv %1, %w after %past : tensor<?x?x4xf32>, tensor<4x3xf32>, tensor<?x2x4xf32>
  return %y : tensor<?x?x4xf32>
}

// -----

// Attention carries its keys and values; positions come from the entry, which
// carries the number of tokens before.

// CHECK-LABEL: func.func private @layer(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x?x2x4xf32>, %[[K:[^:]*]]: tensor<?x7x2x4xf32> {nn.state = "state.0"}, %[[V:[^:]*]]: tensor<?x7x2x4xf32> {nn.state = "state.1"}, %[[P:[^:]*]]: tensor<?x?xi32> {nn.name = "positions"})
// CHECK:         %[[F:.*]] = nn.to_float %[[P]]
// CHECK:         %[[O:.*]], %{{.*}}, %[[NK:.*]], %[[NV:.*]] = nn.attention %[[X]], %[[X]], %{{.*}} window 8 at(%[[P]] : tensor<?x?xi32>) after(%[[K]], %[[V]] : {{.*}})
// CHECK:         return %[[O]], %[[NK]], %[[NV]]
func.func private @layer(%x: tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32> {
  %p, %n = nn.positions %x : tensor<?x?x2x4xf32>
  %f = nn.to_float %p : tensor<?x?xi32> -> tensor<?x?xf32>
  %r = nn.reshape %f : tensor<?x?xf32> -> tensor<?x?x1x1xf32>
  %v = nn.mul %x, %r : tensor<?x?x2x4xf32>, tensor<?x?x1x1xf32>
  %o, %l, %nk, %nv = nn.attention %x, %x, %v window 8 : tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>
  return %o : tensor<?x?x2x4xf32>
}

// CHECK-LABEL: func.func @model(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x?x2x4xf32>, %[[K:[^:]*]]: {{[^:]*}} {nn.state = "layer.0.state.0"}, %[[V:[^:]*]]: {{[^:]*}} {nn.state = "layer.0.state.1"}, %[[B:[^:]*]]: tensor<?x1xi32> {nn.state = "tokens"})
// CHECK:         %[[P:.*]], %[[NB:.*]] = nn.positions %[[X]] from %[[B]]
// CHECK:         %[[L:.*]]:3 = call @layer(%[[X]], %[[K]], %[[V]], %[[P]])
// CHECK:         return %[[L]]#0, %[[L]]#1, %[[L]]#2, %[[NB]]
func.func @model(%x: tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32> {
  %0 = call @layer(%x) : (tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  return %0 : tensor<?x?x2x4xf32>
}

// -----

// A scan over chunks becomes a token scan: after its own state a buffer of rows and the rows that are filled. The full
// buffer updates the state before the token is read, on its own row.

// CHECK-LABEL: func.func @model(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x?x2x4xf32>, %[[W:[^:]*]]: tensor<2x4x4xf32> {nn.weight = "w"}, %[[ST:[^:]*]]: tensor<?x2xf32>
// CHECK-SAME:    %[[S:[^:]*]]: tensor<?x2x4x4xf32> {nn.state = "state.1"}, %[[R:[^:]*]]: tensor<?x2x8x4xf32> {nn.state = "state.2"}, %[[M:[^:]*]]: tensor<?x2x8xf32> {nn.state = "state.3"})
// CHECK:         %[[FROM:.*]] = nn.select %{{.*}}, %[[S]], %[[W]]
// CHECK:         rec.scan chunk 1(%[[X]] : tensor<?x?x2x4xf32>) init(%[[FROM]], %[[R]], %[[M]] :
// CHECK-NEXT:    ^bb0(%[[XT:[^:]*]]: tensor<4xf32>, %[[WT:[^:]*]]: tensor<4x4xf32>, %[[ROWS:[^:]*]]: tensor<8x4xf32>, %[[MASK:[^:]*]]: tensor<8xf32>):
// CHECK:           %[[U:.*]] = nn.dot %[[ROWS]], %[[ROWS]] contract [0] x [0]
// CHECK:           %[[NOW:.*]] = rec.when %[[MASK]], %[[U]], %[[WT]]
// CHECK:           %[[ROW:.*]] = nn.reshape %[[XT]] : tensor<4xf32> -> tensor<1x4xf32>
// CHECK:           nn.dot %[[ROW]], %[[NOW]] contract [1] x [0] : tensor<1x4xf32>, tensor<4x4xf32>
func.func @model(%x: tensor<?x?x2x4xf32>, %w: tensor<2x4x4xf32> {nn.weight = "w"}) -> tensor<?x?x2x4xf32> {
  %o, %s = rec.scan chunk 8 (%x : tensor<?x?x2x4xf32>) init (%w : tensor<2x4x4xf32>) kinds [0] out_kinds [0] states 1 {
  ^bb0(%r: tensor<8x4xf32>, %S: tensor<4x4xf32>):
    %y = nn.dot %r, %S contract [1] x [0] : tensor<8x4xf32>, tensor<4x4xf32>
    %u = nn.dot %r, %r contract [0] x [0] : tensor<8x4xf32>, tensor<8x4xf32>
    %n = rec.unless_last %u, %S : tensor<4x4xf32>
    rec.yield %y, %n : tensor<8x4xf32>, tensor<4x4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4x4xf32>
  return %o : tensor<?x?x2x4xf32>
}
