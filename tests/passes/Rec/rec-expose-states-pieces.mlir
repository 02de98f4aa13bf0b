// RUN: tidegate-opt %s -split-input-file -rec-expose-states="pieces=true" -verify-diagnostics | FileCheck %s
// RUN: tidegate-opt %s -split-input-file -rec-expose-states="pieces=true full=128" -verify-diagnostics | FileCheck %s --check-prefix=FULL

// Tokens of one chunk read the state of its begin, 64 rows at a time, and leave their rows behind those before.

// CHECK-LABEL: func.func @model(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x?x2x4xf32>, %[[K:[^:]*]]: tensor<?x?x2x4xf32>, %[[W:[^:]*]]: tensor<2x4x4xf32> {nn.weight = "w"}, %[[ST:[^:]*]]: tensor<?x2xf32> {nn.state = "state.0"},
// CHECK-SAME:    %[[S:[^:]*]]: tensor<?x2x4x4xf32> {nn.state = "state.1"}, %[[R:[^:]*]]: tensor<?x128x2x4xf32> {nn.state = "state.2"})
// CHECK:         %[[FROM:.*]] = nn.select %{{.*}}, %[[S]], %[[W]]
// CHECK-NOT:     rec.scan chunk 128
// CHECK:         %[[ROWS:.*]] = nn.last_rows %[[K]] after %[[R]] : tensor<?x?x2x4xf32>, tensor<?x128x2x4xf32> -> tensor<?x128x2x4xf32>
// CHECK:         %[[O:.*]] = rec.scan chunk 64(%[[X]], %[[K]], %[[FROM]] : {{.*}}) kinds [0, 0, 4] out_kinds [0] states 0
// CHECK-NEXT:    ^bb0(%[[XC:[^:]*]]: tensor<64x4xf32>, %{{[^:]*}}: tensor<64x4xf32>, %[[SC:[^:]*]]: tensor<4x4xf32>):
// CHECK-NEXT:      nn.dot %[[XC]], %[[SC]] contract [1] x [0] : tensor<64x4xf32>, tensor<4x4xf32>
// CHECK:         return %[[O]], %{{.*}}, %[[FROM]], %[[ROWS]]

// Behind a full chunk its rows update the state first.

// FULL-LABEL: func.func @model(
// FULL-SAME:    %[[R:[^:]*]]: tensor<?x128x2x4xf32> {nn.state = "state.2"})
// FULL:         %[[FROM:.*]] = nn.select
// FULL:         %[[NOW:.*]] = rec.scan chunk 128(%[[R]], %[[FROM]] : {{.*}}) init(%[[FROM]] : tensor<?x2x4x4xf32>) kinds [0, 4] out_kinds [] states 1
// FULL-NEXT:    ^bb0(%[[RC:[^:]*]]: tensor<128x4xf32>, %{{[^:]*}}: tensor<4x4xf32>, %{{[^:]*}}: tensor<4x4xf32>):
// FULL-NEXT:      %[[U:.*]] = nn.dot %[[RC]], %[[RC]] contract [0] x [0]
// FULL-NEXT:      rec.yield %[[U]]
// FULL:         %[[ROWS:.*]] = nn.last_rows
// FULL:         %[[O:.*]] = rec.scan chunk 64(%{{.*}}, %{{.*}}, %[[NOW]] :
// FULL:         return %[[O]], %{{.*}}, %[[NOW]], %[[ROWS]]
func.func @model(%x: tensor<?x?x2x4xf32>, %k: tensor<?x?x2x4xf32>, %w: tensor<2x4x4xf32> {nn.weight = "w"}) -> tensor<?x?x2x4xf32> {
  %o, %s = rec.scan chunk 128 (%x, %k : tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) init (%w : tensor<2x4x4xf32>) kinds [0, 0] out_kinds [0] states 1 {
  ^bb0(%r: tensor<128x4xf32>, %t: tensor<128x4xf32>, %S: tensor<4x4xf32>):
    %y = nn.dot %r, %S contract [1] x [0] : tensor<128x4xf32>, tensor<4x4xf32>
    %u = nn.dot %t, %t contract [0] x [0] : tensor<128x4xf32>, tensor<128x4xf32>
    %n = rec.unless_last %u, %S : tensor<4x4xf32>
    rec.yield %y, %n : tensor<128x4xf32>, tensor<4x4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4x4xf32>
  return %o : tensor<?x?x2x4xf32>
}

// -----

func.func @model(%x: tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32> {
  // expected-error @below {{reads other rows of its chunk, so it cannot be fed in pieces}}
  %o, %s = rec.scan chunk 8 (%x : tensor<?x?x2x4xf32>) kinds [0] out_kinds [0] states 1 {
  ^bb0(%r: tensor<8x4xf32>, %S: tensor<4x4xf32>):
    %z = nn.dot %r, %r contract [1] x [1] : tensor<8x4xf32>, tensor<8x4xf32>
    %y = nn.dot %z, %r contract [1] x [0] : tensor<8x8xf32>, tensor<8x4xf32>
    %u = nn.dot %r, %r contract [0] x [0] : tensor<8x4xf32>, tensor<8x4xf32>
    %n = rec.unless_last %u, %S : tensor<4x4xf32>
    rec.yield %y, %n : tensor<8x4xf32>, tensor<4x4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4x4xf32>
  return %o : tensor<?x?x2x4xf32>
}
