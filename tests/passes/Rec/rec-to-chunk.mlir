// RUN: tidegate-opt %s -split-input-file -rec-to-chunk=chunk=16 -canonicalize -cse | FileCheck %s

// Gated linear attention: the decay's exponential and its logarithm vanish, the
// output's scale moves behind the scan, and the body holds the events.

// CHECK-LABEL: func.func @per_channel_decay(
// CHECK-SAME:    %[[G:[^:]*]]: tensor<?x?x2x4xf32>, %[[K:[^:]*]]: tensor<?x?x2x4xf32>, %[[V:[^:]*]]: tensor<?x?x2x8xf32>, %[[Q:[^:]*]]: tensor<?x?x2x4xf32>, %[[S0:[^:]*]]: tensor<?x2x4x8xf32>
// CHECK-NOT:     nn.exp
// CHECK:         %[[SCAN:.*]]:2 = rec.scan chunk 16(%[[Q]], %[[K]], %[[V]], %[[G]] :
// CHECK-SAME:      init(%[[S0]] : tensor<?x2x4x8xf32>) kinds [0, 0, 0, 0] out_kinds [0] states 1 {
// CHECK:         ^bb0(%[[QT:.*]]: tensor<16x4xf32>, %[[KT:.*]]: tensor<16x4xf32>, %[[VT:.*]]: tensor<16x8xf32>, %[[GT:.*]]: tensor<16x4xf32>, %[[S:.*]]: tensor<4x8xf32>):
// CHECK:           %[[LEAST:.*]] = nn.constant -1.040000e+02
// CHECK:           %[[CLAMPED:.*]] = nn.maximum %[[GT]], %[[LEAST]]
// CHECK:           %[[LARGE:.*]] = nn.constant 4.915200e+04
// CHECK:           %[[SHIFTED:.*]] = nn.add %[[CLAMPED]], %[[LARGE]]
// CHECK:           %[[BACK:.*]] = nn.sub %[[SHIFTED]], %[[LARGE]]
// CHECK:           %[[COARSE:.*]] = nn.stop_gradient %[[BACK]]
// CHECK:           %[[FINE:.*]] = nn.sub %[[CLAMPED]], %[[COARSE]]
// CHECK:           %[[L:.*]] = rec.cumsum %[[FINE]] : tensor<16x4xf32>
// CHECK:           %[[EL:.*]] = nn.exp %[[L]]
// CHECK:           %[[QL:.*]] = nn.mul %[[QT]], %[[EL]]
// CHECK:           %[[SUM:.*]] = rec.cumsum %[[COARSE]] : tensor<16x4xf32>
// CHECK:           %[[QS:.*]] = nn.dot %{{.*}}, %[[S]] contract [1] x [0]
// CHECK:           %[[MINUS:.*]] = nn.neg %[[L]]
// CHECK:           %[[EM:.*]] = nn.exp %[[MINUS]]
// CHECK:           %[[KL:.*]] = nn.mul %[[KT]], %[[EM]]
// CHECK:           %[[P:.*]] = rec.decay_scores %[[QL]], %[[KL]] gates %[[SUM]], %[[SUM]] at [2] x [1]
// CHECK:           %[[PV:.*]] = nn.dot %[[P]], %[[VT]] contract [1] x [0]
// CHECK:           %[[O:.*]] = nn.add %[[QS]], %[[PV]]
// CHECK:           rec.cumsum %[[CLAMPED]] reverse exclusive
// CHECK:           %[[KV:.*]] = nn.dot %{{.*}}, %[[VT]] contract [0] x [0]
// CHECK:           %[[NEXT:.*]] = nn.add %{{.*}}, %[[KV]]
// CHECK:           rec.yield %[[O]], %[[NEXT]]
// CHECK:         %[[HALF:.*]] = nn.constant 5.0
// CHECK:         %[[Y:.*]] = nn.mul %[[SCAN]]#0, %[[HALF]] : tensor<?x?x2x8xf32>
// CHECK:         return %[[Y]], %[[SCAN]]#1
func.func @per_channel_decay(%g: tensor<?x?x2x4xf32>, %k: tensor<?x?x2x4xf32>, %v: tensor<?x?x2x8xf32>,
                             %q: tensor<?x?x2x4xf32>, %s0: tensor<?x2x4x8xf32>)
    -> (tensor<?x?x2x8xf32>, tensor<?x2x4x8xf32>) {
  %a = nn.exp %g : tensor<?x?x2x4xf32>
  %o, %s = rec.scan chunk 1 (%a, %k, %v, %q : tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x4xf32>)
      init (%s0 : tensor<?x2x4x8xf32>) kinds [0, 0, 0, 0] out_kinds [0] states 1 {
  ^bb0(%at: tensor<4xf32>, %kt: tensor<4xf32>, %vt: tensor<8xf32>, %qt: tensor<4xf32>, %S: tensor<4x8xf32>):
    %d = nn.reshape %at : tensor<4xf32> -> tensor<4x1xf32>
    %decayed = nn.mul %d, %S : tensor<4x1xf32>, tensor<4x8xf32>
    %kv = nn.dot %kt, %vt contract [] x [] : tensor<4xf32>, tensor<8xf32>
    %next = nn.add %decayed, %kv : tensor<4x8xf32>, tensor<4x8xf32>
    %ot = nn.dot %qt, %next contract [0] x [0] : tensor<4xf32>, tensor<4x8xf32>
    %half = nn.constant 0.5 : tensor<f32>
    %os = nn.mul %ot, %half : tensor<8xf32>, tensor<f32>
    rec.yield %os, %next : tensor<8xf32>, tensor<4x8xf32>
  } -> tensor<?x?x2x8xf32>, tensor<?x2x4x8xf32>
  return %o, %s : tensor<?x?x2x8xf32>, tensor<?x2x4x8xf32>
}

// -----

// A decay per head: the gate is one column, and its logarithm that of a sigmoid.

// CHECK-LABEL: func.func @scalar_decay(
// CHECK:         %[[SOFTPLUS:.*]] = nn.softplus
// CHECK:         %[[LOG:.*]] = nn.neg %[[SOFTPLUS]] : tensor<?x?x2xf32>
// CHECK-NOT:     nn.log
// CHECK:         rec.scan chunk 16
// CHECK:           rec.decay_scores %{{.*}}, %{{.*}} gates %{{.*}}, %{{.*}} at [2] x [1] : (tensor<16x4xf32>, tensor<16x4xf32>, tensor<16x1xf32>, tensor<16x1xf32>) -> tensor<16x16xf32>
func.func @scalar_decay(%x: tensor<?x?x2xf32>, %k: tensor<?x?x2x4xf32>, %v: tensor<?x?x2x8xf32>,
                        %q: tensor<?x?x2x4xf32>) -> tensor<?x?x2x8xf32> {
  %o, %s = rec.scan chunk 1 (%x, %k, %v, %q : tensor<?x?x2xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x4xf32>)
      kinds [0, 0, 0, 0] out_kinds [0] states 1 {
  ^bb0(%xt: tensor<f32>, %kt: tensor<4xf32>, %vt: tensor<8xf32>, %qt: tensor<4xf32>, %S: tensor<4x8xf32>):
    %a = nn.sigmoid %xt : tensor<f32>
    %decayed = nn.mul %S, %a : tensor<4x8xf32>, tensor<f32>
    %kv = nn.dot %kt, %vt contract [] x [] : tensor<4xf32>, tensor<8xf32>
    %next = nn.add %decayed, %kv : tensor<4x8xf32>, tensor<4x8xf32>
    %ot = nn.dot %qt, %next contract [0] x [0] : tensor<4xf32>, tensor<4x8xf32>
    rec.yield %ot, %next : tensor<8xf32>, tensor<4x8xf32>
  } -> tensor<?x?x2x8xf32>, tensor<?x2x4x8xf32>
  return %o : tensor<?x?x2x8xf32>
}

// -----

// The delta rule: products with beta move out, the add that reads the state is
// a triangular solve, and the minus sign of its reader is taken on the tile.

// CHECK-LABEL: func.func @delta_rule(
// CHECK-SAME:    %[[BETA:[^:]*]]: tensor<?x?x2xf32>, %[[K:[^:]*]]: tensor<?x?x2x4xf32>, %[[V:[^:]*]]: tensor<?x?x2x8xf32>, %[[Q:[^:]*]]: tensor<?x?x2x4xf32>
// CHECK:         %[[COLUMN:.*]] = nn.reshape %[[BETA]] : tensor<?x?x2xf32> -> tensor<?x?x2x1xf32>
// CHECK:         %[[BK:.*]] = nn.mul %[[COLUMN]], %[[K]]
// CHECK:         rec.scan chunk 16(%[[Q]], %[[BK]], %[[V]], %[[K]] :
// CHECK:         ^bb0(%[[QT:.*]]: tensor<16x4xf32>, %[[BKT:.*]]: tensor<16x4xf32>, %[[VT:.*]]: tensor<16x8xf32>, %[[KT:.*]]: tensor<16x4xf32>, %[[S:.*]]: tensor<4x8xf32>):
// CHECK:           %[[W:.*]] = nn.neg %[[KT]]
// CHECK:           %[[M:.*]] = rec.decay_scores %[[W]], %[[BKT]] at [0] x [0] : (tensor<16x4xf32>, tensor<16x4xf32>) -> tensor<16x16xf32>
// CHECK:           %[[WS:.*]] = nn.dot %[[W]], %[[S]] contract [1] x [0]
// CHECK:           %[[Y:.*]] = nn.add %[[VT]], %[[WS]]
// CHECK:           %[[N:.*]] = rec.solve_unit_lower %[[M]], %[[Y]]
// CHECK:           rec.decay_scores %[[QT]], %[[BKT]] at [1] x [0]
// CHECK:           nn.dot %[[BKT]], %[[N]] contract [0] x [0]
func.func @delta_rule(%beta: tensor<?x?x2xf32>, %k: tensor<?x?x2x4xf32>, %v: tensor<?x?x2x8xf32>,
                      %q: tensor<?x?x2x4xf32>) -> tensor<?x?x2x8xf32> {
  %o, %s = rec.scan chunk 1 (%beta, %k, %v, %q : tensor<?x?x2xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x4xf32>)
      kinds [0, 0, 0, 0] out_kinds [0] states 1 {
  ^bb0(%b: tensor<f32>, %kt: tensor<4xf32>, %vt: tensor<8xf32>, %qt: tensor<4xf32>, %S: tensor<4x8xf32>):
    %bk = nn.mul %b, %kt : tensor<f32>, tensor<4xf32>
    %r = nn.dot %kt, %S contract [0] x [0] : tensor<4xf32>, tensor<4x8xf32>
    %e = nn.sub %vt, %r : tensor<8xf32>, tensor<8xf32>
    %u = nn.dot %bk, %e contract [] x [] : tensor<4xf32>, tensor<8xf32>
    %next = nn.add %S, %u : tensor<4x8xf32>, tensor<4x8xf32>
    %ot = nn.dot %qt, %next contract [0] x [0] : tensor<4xf32>, tensor<4x8xf32>
    rec.yield %ot, %next : tensor<8xf32>, tensor<4x8xf32>
  } -> tensor<?x?x2x8xf32>, tensor<?x2x4x8xf32>
  return %o : tensor<?x?x2x8xf32>
}

// -----

// A read of the state at the token's entry: two adds per token, 32 rows per
// chunk, the first of which reads before the decay (place 0) and adds behind it.

// CHECK-LABEL: func.func @stale_read(
// CHECK:         rec.scan chunk 16
// CHECK:           rec.decay_scores %{{.*}}, %{{.*}} gates %{{.*}}, %{{.*}} at [0, 0] x [1, 2] : (tensor<32x4xf32>, tensor<32x4xf32>, tensor<32x4xf32>, tensor<32x4xf32>) -> tensor<32x32xf32>
// CHECK:           rec.solve_unit_lower
// CHECK:           rec.decay_scores %{{.*}}, %{{.*}} gates %{{.*}}, %{{.*}} at [3] x [1, 2] : (tensor<16x4xf32>, tensor<32x4xf32>, tensor<16x4xf32>, tensor<32x4xf32>) -> tensor<16x32xf32>
func.func @stale_read(%g: tensor<?x?x2x4xf32>, %a: tensor<?x?x2x4xf32>, %b: tensor<?x?x2x4xf32>,
                      %k: tensor<?x?x2x4xf32>, %v: tensor<?x?x2x8xf32>, %q: tensor<?x?x2x4xf32>)
    -> tensor<?x?x2x8xf32> {
  %o, %s = rec.scan chunk 1 (%g, %a, %b, %k, %v, %q : tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>,
                             tensor<?x?x2x4xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x4xf32>)
      kinds [0, 0, 0, 0, 0, 0] out_kinds [0] states 1 {
  ^bb0(%gt: tensor<4xf32>, %at: tensor<4xf32>, %bt: tensor<4xf32>, %kt: tensor<4xf32>, %vt: tensor<8xf32>,
       %qt: tensor<4xf32>, %S: tensor<4x8xf32>):
    %r = nn.dot %at, %S contract [0] x [0] : tensor<4xf32>, tensor<4x8xf32>
    %e = nn.exp %gt : tensor<4xf32>
    %d = nn.reshape %e : tensor<4xf32> -> tensor<4x1xf32>
    %decayed = nn.mul %d, %S : tensor<4x1xf32>, tensor<4x8xf32>
    %br = nn.dot %bt, %r contract [] x [] : tensor<4xf32>, tensor<8xf32>
    %kv = nn.dot %kt, %vt contract [] x [] : tensor<4xf32>, tensor<8xf32>
    %half = nn.add %decayed, %br : tensor<4x8xf32>, tensor<4x8xf32>
    %next = nn.add %half, %kv : tensor<4x8xf32>, tensor<4x8xf32>
    %ot = nn.dot %qt, %next contract [0] x [0] : tensor<4xf32>, tensor<4x8xf32>
    rec.yield %ot, %next : tensor<8xf32>, tensor<4x8xf32>
  } -> tensor<?x?x2x8xf32>, tensor<?x2x4x8xf32>
  return %o : tensor<?x?x2x8xf32>
}

// -----

// A decay about whose sign nothing is known: the logarithm of its size, guarded
// in value and gradient, and the sign by counting.

// CHECK-LABEL: func.func @unknown_decay(
// CHECK-SAME:    %[[A:[^:]*]]: tensor<?x?x2xf32>
// CHECK:         nn.greater %{{.*}}, %{{.*}} : tensor<f32>, tensor<?x?x2x1xf32>
// CHECK:         nn.abs
// CHECK:         nn.stop_gradient
// CHECK:         nn.select
// CHECK:         rec.scan chunk 16
// CHECK:           nn.cos
func.func @unknown_decay(%a: tensor<?x?x2xf32>, %k: tensor<?x?x2x4xf32>) -> tensor<?x2x4x4xf32> {
  %s = rec.scan chunk 1 (%a, %k : tensor<?x?x2xf32>, tensor<?x?x2x4xf32>) kinds [0, 0] out_kinds [] states 1 {
  ^bb0(%at: tensor<f32>, %kt: tensor<4xf32>, %S: tensor<4x4xf32>):
    %decayed = nn.mul %S, %at : tensor<4x4xf32>, tensor<f32>
    %kk = nn.dot %kt, %kt contract [] x [] : tensor<4xf32>, tensor<4xf32>
    %next = nn.add %decayed, %kk : tensor<4x4xf32>, tensor<4x4xf32>
    rec.yield %next : tensor<4x4xf32>
  } -> tensor<?x2x4x4xf32>
  return %s : tensor<?x2x4x4xf32>
}

// -----

// Without a state there is nothing to scan; a value per head comes before the tokens.

// CHECK-LABEL: func.func @no_state(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x?x2x4xf32>, %[[B:[^:]*]]: tensor<2xf32>
// CHECK-NOT:     rec.scan
// CHECK:         %[[SIGMOID:.*]] = nn.sigmoid %[[B]] : tensor<2xf32>
// CHECK:         %[[COLUMN:.*]] = nn.reshape %[[SIGMOID]] : tensor<2xf32> -> tensor<2x1xf32>
// CHECK:         nn.mul %[[X]], %[[COLUMN]] : tensor<?x?x2x4xf32>, tensor<2x1xf32>
func.func @no_state(%x: tensor<?x?x2x4xf32>, %b: tensor<2xf32>) -> tensor<?x?x2x4xf32> {
  %y = rec.scan chunk 1 (%x, %b : tensor<?x?x2x4xf32>, tensor<2xf32>) kinds [0, 2] out_kinds [0] states 0 {
  ^bb0(%xt: tensor<4xf32>, %bh: tensor<f32>):
    %s = nn.sigmoid %bh : tensor<f32>
    %m = nn.mul %xt, %s : tensor<4xf32>, tensor<f32>
    rec.yield %m : tensor<4xf32>
  } -> tensor<?x?x2x4xf32>
  return %y : tensor<?x?x2x4xf32>
}

// -----

// What is chunked, runs backwards or saves its entry states is left alone.

// CHECK-LABEL: func.func @other_scans_are_kept(
// CHECK:         rec.scan chunk 8
// CHECK:         rec.scan reverse chunk 1
// CHECK:         rec.scan save_states chunk 1
func.func @other_scans_are_kept(%x: tensor<?x?x2x4xf32>)
    -> (tensor<?x2x4x4xf32>, tensor<?x2x4x4xf32>, tensor<?x2x4x4xf32>) {
  %chunked = rec.scan chunk 8 (%x : tensor<?x?x2x4xf32>) kinds [0] out_kinds [] states 1 {
  ^bb0(%xt: tensor<8x4xf32>, %S: tensor<4x4xf32>):
    %u = nn.dot %xt, %xt contract [0] x [0] : tensor<8x4xf32>, tensor<8x4xf32>
    %next = nn.add %S, %u : tensor<4x4xf32>, tensor<4x4xf32>
    rec.yield %next : tensor<4x4xf32>
  } -> tensor<?x2x4x4xf32>
  %reverse = rec.scan reverse chunk 1 (%x : tensor<?x?x2x4xf32>) kinds [0] out_kinds [] states 1 {
  ^bb0(%xt: tensor<4xf32>, %S: tensor<4x4xf32>):
    %u = nn.dot %xt, %xt contract [] x [] : tensor<4xf32>, tensor<4xf32>
    %next = nn.add %S, %u : tensor<4x4xf32>, tensor<4x4xf32>
    rec.yield %next : tensor<4x4xf32>
  } -> tensor<?x2x4x4xf32>
  %saving, %entries = rec.scan save_states chunk 1 (%x : tensor<?x?x2x4xf32>) kinds [0] out_kinds [] states 1 {
  ^bb0(%xt: tensor<4xf32>, %S: tensor<4x4xf32>):
    %u = nn.dot %xt, %xt contract [] x [] : tensor<4xf32>, tensor<4xf32>
    %next = nn.add %S, %u : tensor<4x4xf32>, tensor<4x4xf32>
    rec.yield %next : tensor<4x4xf32>
  } -> tensor<?x2x4x4xf32>, tensor<?x?x2x4x4xf32>
  return %chunked, %reverse, %saving : tensor<?x2x4x4xf32>, tensor<?x2x4x4xf32>, tensor<?x2x4x4xf32>
}

// -----

// Documents: scores of one document only, the entry state for rows before the first begin, the initial value under the
// decay since it for rows behind one, and of the adds those of the last document.

// CHECK-LABEL: func.func @documents(
// CHECK-SAME:    %[[K:[^:]*]]: tensor<?x?x2x4xf32>, %[[V:[^:]*]]: tensor<?x?x2x8xf32>, %[[F:[^:]*]]: tensor<?x?x2xf32>, %[[S0:[^:]*]]: tensor<?x2x4x8xf32>
// CHECK:         rec.scan chunk 16(%[[K]], %[[V]], %[[F]], %[[S0]] :
// CHECK-SAME:      init(%[[S0]] : tensor<?x2x4x8xf32>) kinds [0, 0, 0, 4] out_kinds [0] states 1 {
// CHECK:         ^bb0(%[[KT:.*]]: tensor<16x4xf32>, %[[VT:.*]]: tensor<16x8xf32>, %[[FT:.*]]: tensor<16xf32>, %[[INIT:.*]]: tensor<4x8xf32>, %[[S:.*]]: tensor<4x8xf32>):
// CHECK:           %[[ROW:.*]] = nn.reshape %[[FT]] : tensor<16xf32> -> tensor<16x1xf32>
// CHECK:           %[[BEGINS:.*]] = nn.stop_gradient %[[ROW]]
// CHECK:           %[[COUNT:.*]] = rec.cumsum %[[BEGINS]]
// CHECK:           %[[TOTAL:.*]] = nn.reduce_sum %[[BEGINS]] [0]
// CHECK:           %[[BEFORE:.*]] = nn.equal %[[COUNT]], %[[ZERO:.*]] :
// CHECK:           %[[OLD:.*]] = nn.select %[[BEFORE]], %[[KT]], %[[ZERO]]
// CHECK:           nn.dot %[[OLD]], %[[S]] contract [1] x [0]
// CHECK:           %[[NEW:.*]] = nn.select %[[BEFORE]], %[[ZERO]], %[[KT]]
// CHECK:           nn.dot %[[NEW]], %[[INIT]] contract [1] x [0]
// CHECK:           %[[ALL:.*]] = rec.decay_scores %[[KT]], %[[KT]] at [1] x [0]
// CHECK:           %[[SAME:.*]] = nn.equal %[[COUNT]], %{{.*}} : tensor<16x1xf32>, tensor<1x16xf32>
// CHECK:           %[[P:.*]] = nn.select %[[SAME]], %[[ALL]], %[[ZERO]]
// CHECK:           nn.dot %[[P]], %[[VT]] contract [1] x [0]
// CHECK:           %[[NONE:.*]] = nn.equal %[[TOTAL]], %[[ZERO]]
// CHECK:           nn.select %[[NONE]], %[[S]], %[[INIT]]
// CHECK:           %[[LAST:.*]] = nn.equal %[[COUNT]], %[[TOTAL]]
// CHECK:           %[[LEFT:.*]] = nn.select %[[LAST]], %[[KT]], %[[ZERO]]
// CHECK:           nn.dot %[[LEFT]], %[[VT]] contract [0] x [0]
func.func @documents(%k: tensor<?x?x2x4xf32>, %v: tensor<?x?x2x8xf32>, %f: tensor<?x?x2xf32>, %s0: tensor<?x2x4x8xf32>)
    -> tensor<?x?x2x8xf32> {
  %o, %s = rec.scan chunk 1 (%k, %v, %f, %s0 : tensor<?x?x2x4xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2xf32>, tensor<?x2x4x8xf32>)
      init (%s0 : tensor<?x2x4x8xf32>) kinds [0, 0, 0, 4] out_kinds [0] states 1 {
  ^bb0(%kt: tensor<4xf32>, %vt: tensor<8xf32>, %ft: tensor<f32>, %init: tensor<4x8xf32>, %S: tensor<4x8xf32>):
    %R = rec.reset %S, %ft to %init : tensor<4x8xf32>, tensor<f32>, tensor<4x8xf32>
    %kv = nn.dot %kt, %vt contract [] x [] : tensor<4xf32>, tensor<8xf32>
    %next = nn.add %R, %kv : tensor<4x8xf32>, tensor<4x8xf32>
    %ot = nn.dot %kt, %next contract [0] x [0] : tensor<4xf32>, tensor<4x8xf32>
    rec.yield %ot, %next : tensor<8xf32>, tensor<4x8xf32>
  } -> tensor<?x?x2x8xf32>, tensor<?x2x4x8xf32>
  return %o : tensor<?x?x2x8xf32>
}

// -----

// A decay along the values and an add that reads: neither scores see it, but the
// solve and what is read of N do.

// CHECK-LABEL: func.func @value_decay(
// CHECK:         rec.scan chunk 16(
// CHECK:           %[[M:.*]] = rec.decay_scores %{{.*}}, %{{.*}} at [1] x [1] :
// CHECK:           %[[H:.*]] = rec.cumsum %{{.*}} : tensor<16x8xf32>
// CHECK:           %[[N:.*]] = rec.decay_solve %[[M]], %{{.*}} gates %[[H]], %[[H]] at [1] x [1]
// CHECK:           %[[P:.*]] = rec.decay_scores %{{.*}}, %{{.*}} at [2] x [1] :
// CHECK:           rec.decay_mix %[[P]], %[[N]] gates %[[H]], %[[H]] at [2] x [1]
// CHECK-NOT:     rec.scan chunk 1(
func.func @value_decay(%g: tensor<?x?x2x8xf32>, %k: tensor<?x?x2x4xf32>, %v: tensor<?x?x2x8xf32>,
                       %q: tensor<?x?x2x4xf32>) -> tensor<?x?x2x8xf32> {
  %b = nn.exp %g : tensor<?x?x2x8xf32>
  %o, %s = rec.scan chunk 1 (%b, %k, %v, %q : tensor<?x?x2x8xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x4xf32>)
      kinds [0, 0, 0, 0] out_kinds [0] states 1 {
  ^bb0(%bt: tensor<8xf32>, %kt: tensor<4xf32>, %vt: tensor<8xf32>, %qt: tensor<4xf32>, %S: tensor<4x8xf32>):
    %d = nn.mul %S, %bt : tensor<4x8xf32>, tensor<8xf32>
    %r = nn.dot %kt, %d contract [0] x [0] : tensor<4xf32>, tensor<4x8xf32>
    %e = nn.sub %vt, %r : tensor<8xf32>, tensor<8xf32>
    %u = nn.dot %kt, %e contract [] x [] : tensor<4xf32>, tensor<8xf32>
    %next = nn.add %d, %u : tensor<4x8xf32>, tensor<4x8xf32>
    %ot = nn.dot %qt, %next contract [0] x [0] : tensor<4xf32>, tensor<4x8xf32>
    rec.yield %ot, %next : tensor<8xf32>, tensor<4x8xf32>
  } -> tensor<?x?x2x8xf32>, tensor<?x2x4x8xf32>
  return %o : tensor<?x?x2x8xf32>
}

// -----

// A value of the batch row that every token has is repeated chunk by chunk, next to what is computed for all tokens.

// CHECK-LABEL: func.func @repeated_row(
// CHECK-SAME:    %[[X:.*]]: tensor<?x?x2x4xf32>, %[[A:.*]]: tensor<?x2xf32>
// CHECK-DAG:     %[[NEG:.*]] = nn.neg %[[X]]
// CHECK-DAG:     %[[ROWS:.*]] = rec.scan chunk 16(%[[X]], %[[A]] : {{.*}}) kinds [0, 4] out_kinds [0] states 0 {
// CHECK:         ^bb0(%{{.*}}: tensor<16x4xf32>, %[[ROW:.*]]: tensor<f32>):
// CHECK:           %[[SPREAD:.*]] = nn.add %[[ROW]], %{{.*}} : tensor<f32>, tensor<16xf32>
// CHECK:           rec.yield %[[SPREAD]] : tensor<16xf32>
// CHECK:         return %[[NEG]], %[[ROWS]]
func.func @repeated_row(%x: tensor<?x?x2x4xf32>, %a: tensor<?x2xf32>) -> (tensor<?x?x2x4xf32>, tensor<?x?x2xf32>) {
  %o:2 = rec.scan chunk 1 (%x, %a : tensor<?x?x2x4xf32>, tensor<?x2xf32>) kinds [0, 4] out_kinds [0, 0] states 0 {
  ^bb0(%xt: tensor<4xf32>, %at: tensor<f32>):
    %n = nn.neg %xt : tensor<4xf32>
    rec.yield %n, %at : tensor<4xf32>, tensor<f32>
  } -> tensor<?x?x2x4xf32>, tensor<?x?x2xf32>
  return %o#0, %o#1 : tensor<?x?x2x4xf32>, tensor<?x?x2xf32>
}
