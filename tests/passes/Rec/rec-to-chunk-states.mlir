// RUN: tidegate-opt %s -split-input-file -rec-to-chunk=chunk=16 -verify-diagnostics | FileCheck %s
// RUN: tidegate-opt %s -split-input-file -rec-to-chunk="chunk=16 vectors=false" 2>/dev/null \
// RUN:   | FileCheck %s --check-prefix=TOKENS

// A memory and its normaliser: one scan each, the quotient of what they are read for behind them.
// CHECK-LABEL: func @normalised
// CHECK:         %[[MEMORY:.*]]:2 = rec.scan chunk 16
// CHECK-SAME:      states 1
// CHECK:         } -> tensor<?x?x2x8xf32>, tensor<?x2x4x8xf32>
// CHECK:         %[[N0:.*]] = nn.reshape %{{.*}} : tensor<?x2x4xf32> -> tensor<?x2x4x1xf32>
// CHECK:         %[[NORM:.*]]:2 = rec.scan chunk 16
// CHECK-SAME:      init(%[[N0]] : tensor<?x2x4x1xf32>)
// CHECK:         } -> tensor<?x?x2x1xf32>, tensor<?x2x4x1xf32>
// CHECK:         %[[O:.*]] = nn.div %[[MEMORY]]#0
// CHECK:         %[[LAST:.*]] = nn.reshape %[[NORM]]#1 : tensor<?x2x4x1xf32> -> tensor<?x2x4xf32>
// CHECK:         return %[[O]], %[[MEMORY]]#1, %[[LAST]]
// TOKENS-LABEL: func @normalised
// TOKENS-COUNT-2: rec.scan chunk 16
func.func @normalised(%q: tensor<?x?x2x4xf32>, %k: tensor<?x?x2x4xf32>, %v: tensor<?x?x2x8xf32>, %g: tensor<?x?x2xf32>,
                      %S0: tensor<?x2x4x8xf32>, %n0: tensor<?x2x4xf32>)
    -> (tensor<?x?x2x8xf32>, tensor<?x2x4x8xf32>, tensor<?x2x4xf32>) {
  %o, %S1, %n1 = rec.scan chunk 1 (%q, %k, %v, %g : tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x8xf32>,
                                   tensor<?x?x2xf32>)
      init (%S0, %n0 : tensor<?x2x4x8xf32>, tensor<?x2x4xf32>) kinds [0, 0, 0, 0] out_kinds [0] states 2 {
  ^bb0(%qt: tensor<4xf32>, %kt: tensor<4xf32>, %vt: tensor<8xf32>, %gt: tensor<f32>, %S: tensor<4x8xf32>,
       %n: tensor<4xf32>):
    %f = nn.sigmoid %gt : tensor<f32>
    %kv = nn.dot %kt, %vt contract [] x [] : tensor<4xf32>, tensor<8xf32>
    %fS = nn.mul %f, %S : tensor<f32>, tensor<4x8xf32>
    %S2 = nn.add %fS, %kv : tensor<4x8xf32>, tensor<4x8xf32>
    %fn = nn.mul %f, %n : tensor<f32>, tensor<4xf32>
    %n2 = nn.add %fn, %kt : tensor<4xf32>, tensor<4xf32>
    %read = nn.dot %qt, %S2 contract [0] x [0] : tensor<4xf32>, tensor<4x8xf32>
    %norm = nn.dot %qt, %n2 contract [0] x [0] : tensor<4xf32>, tensor<4xf32>
    %ot = nn.div %read, %norm : tensor<8xf32>, tensor<f32>
    rec.yield %ot, %S2, %n2 : tensor<8xf32>, tensor<4x8xf32>, tensor<4xf32>
  } -> tensor<?x?x2x8xf32>, tensor<?x2x4x8xf32>, tensor<?x2x4xf32>
  return %o, %S1, %n1 : tensor<?x?x2x8xf32>, tensor<?x2x4x8xf32>, tensor<?x2x4xf32>
}

// -----

// A gate per channel: a matrix of one row under decays of its values.
// CHECK-LABEL: func @vector
// CHECK:         rec.scan chunk 16
// CHECK:           rec.decay_mix
// CHECK:         } -> tensor<?x?x2x8xf32>, tensor<?x2x1x8xf32>
// TOKENS-LABEL: func @vector
// TOKENS:         rec.scan chunk 1 
func.func @vector(%x: tensor<?x?x2x8xf32>, %z: tensor<?x?x2x8xf32>) -> tensor<?x?x2x8xf32> {
  %y, %s = rec.scan chunk 1 (%x, %z : tensor<?x?x2x8xf32>, tensor<?x?x2x8xf32>) kinds [0, 0] out_kinds [0] states 1 {
  ^bb0(%xt: tensor<8xf32>, %zt: tensor<8xf32>, %h: tensor<8xf32>):
    %a = nn.sigmoid %zt : tensor<8xf32>
    %ah = nn.mul %h, %a : tensor<8xf32>, tensor<8xf32>
    %next = nn.add %ah, %xt : tensor<8xf32>, tensor<8xf32>
    rec.yield %next, %next : tensor<8xf32>, tensor<8xf32>
  } -> tensor<?x?x2x8xf32>, tensor<?x2x8xf32>
  return %y : tensor<?x?x2x8xf32>
}

// -----

// What one memory misses is written into another too, and one query reads their sum: the error is handed on, not
// the matrices.
// CHECK-LABEL: func @error_of_another
// CHECK:         rec.scan chunk 16
// CHECK:         } -> tensor<?x?x2x8xf32>, tensor<?x?x2x8xf32>, tensor<?x2x4x8xf32>
// CHECK:         rec.scan chunk 16
// CHECK:         } -> tensor<?x?x2x8xf32>, tensor<?x2x4x8xf32>
// CHECK:         nn.add
// CHECK-NOT:     4x8
// CHECK:         return
func.func @error_of_another(%q: tensor<?x?x2x4xf32>, %k: tensor<?x?x2x4xf32>, %v: tensor<?x?x2x8xf32>) -> tensor<?x?x2x8xf32> {
  %o, %S1, %R1 = rec.scan chunk 1 (%q, %k, %v : tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x8xf32>)
      kinds [0, 0, 0] out_kinds [0] states 2 {
  ^bb0(%qt: tensor<4xf32>, %kt: tensor<4xf32>, %vt: tensor<8xf32>, %S: tensor<4x8xf32>, %R: tensor<4x8xf32>):
    %r = nn.dot %kt, %S contract [0] x [0] : tensor<4xf32>, tensor<4x8xf32>
    %e = nn.sub %vt, %r : tensor<8xf32>, tensor<8xf32>
    %ke = nn.dot %kt, %e contract [] x [] : tensor<4xf32>, tensor<8xf32>
    %S2 = nn.add %S, %ke : tensor<4x8xf32>, tensor<4x8xf32>
    %R2 = nn.add %R, %ke : tensor<4x8xf32>, tensor<4x8xf32>
    %both = nn.add %S2, %R2 : tensor<4x8xf32>, tensor<4x8xf32>
    %ot = nn.dot %qt, %both contract [0] x [0] : tensor<4xf32>, tensor<4x8xf32>
    rec.yield %ot, %S2, %R2 : tensor<8xf32>, tensor<4x8xf32>, tensor<4x8xf32>
  } -> tensor<?x?x2x8xf32>, tensor<?x2x4x8xf32>, tensor<?x2x4x8xf32>
  return %o : tensor<?x?x2x8xf32>
}

// -----

// A product with what a later scan reads needs the vector itself.
// CHECK-LABEL: func @product_with_a_read
// CHECK:         %[[N:.*]]:2 = rec.scan chunk 16
// CHECK:         } -> tensor<?x?x2x4xf32>, tensor<?x2x1x4xf32>
// CHECK:         %[[READ:.*]]:2 = rec.scan chunk 16
// CHECK:         } -> tensor<?x?x2x4xf32>, tensor<?x2x4x4xf32>
// CHECK:         nn.mul %[[READ]]#0, %[[N]]#0
func.func @product_with_a_read(%q: tensor<?x?x2x4xf32>, %k: tensor<?x?x2x4xf32>) -> tensor<?x?x2xf32> {
  %o, %n1, %S1 = rec.scan chunk 1 (%q, %k : tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>)
      kinds [0, 0] out_kinds [0] states 2 {
  ^bb0(%qt: tensor<4xf32>, %kt: tensor<4xf32>, %n: tensor<4xf32>, %S: tensor<4x4xf32>):
    %n2 = nn.add %n, %kt : tensor<4xf32>, tensor<4xf32>
    %kk = nn.dot %kt, %kt contract [] x [] : tensor<4xf32>, tensor<4xf32>
    %S2 = nn.add %S, %kk : tensor<4x4xf32>, tensor<4x4xf32>
    %r = nn.dot %qt, %S2 contract [0] x [0] : tensor<4xf32>, tensor<4x4xf32>
    %ot = nn.dot %r, %n2 contract [0] x [0] : tensor<4xf32>, tensor<4xf32>
    rec.yield %ot, %n2, %S2 : tensor<f32>, tensor<4xf32>, tensor<4x4xf32>
  } -> tensor<?x?x2xf32>, tensor<?x2x4xf32>, tensor<?x2x4x4xf32>
  return %o : tensor<?x?x2xf32>
}

// -----

// A momentum that reads what it moves.
func.func @momentum(%k: tensor<?x?x2x4xf32>, %v: tensor<?x?x2x8xf32>) -> tensor<?x2x4x8xf32> {
  // expected-warning @below {{scan stays in token form: its states need each other}}
  %S1, %M1 = rec.scan chunk 1 (%k, %v : tensor<?x?x2x4xf32>, tensor<?x?x2x8xf32>) kinds [0, 0] out_kinds [] states 2 {
  ^bb0(%kt: tensor<4xf32>, %vt: tensor<8xf32>, %S: tensor<4x8xf32>, %M: tensor<4x8xf32>):
    %r = nn.dot %kt, %S contract [0] x [0] : tensor<4xf32>, tensor<4x8xf32>
    %e = nn.sub %vt, %r : tensor<8xf32>, tensor<8xf32>
    %ke = nn.dot %kt, %e contract [] x [] : tensor<4xf32>, tensor<8xf32>
    %M2 = nn.add %M, %ke : tensor<4x8xf32>, tensor<4x8xf32>
    %S2 = nn.add %S, %M2 : tensor<4x8xf32>, tensor<4x8xf32>
    rec.yield %S2, %M2 : tensor<4x8xf32>, tensor<4x8xf32>
  } -> tensor<?x2x4x8xf32>, tensor<?x2x4x8xf32>
  return %S1 : tensor<?x2x4x8xf32>
}

// -----

// A memory may be added to another only as a read.
func.func @sum_of_matrices(%k: tensor<?x?x2x4xf32>, %v: tensor<?x?x2x8xf32>) -> tensor<?x2x4x8xf32> {
  // expected-note @below {{this scan}}
  %S1, %R1 = rec.scan chunk 1 (%k, %v : tensor<?x?x2x4xf32>, tensor<?x?x2x8xf32>) kinds [0, 0] out_kinds [] states 2 {
  ^bb0(%kt: tensor<4xf32>, %vt: tensor<8xf32>, %S: tensor<4x8xf32>, %R: tensor<4x8xf32>):
    %kv = nn.dot %kt, %vt contract [] x [] : tensor<4xf32>, tensor<8xf32>
    %S2 = nn.add %S, %kv : tensor<4x8xf32>, tensor<4x8xf32>
    // expected-warning @below {{scan stays in token form: this takes a matrix of another state}}
    %R2 = nn.add %R, %S2 : tensor<4x8xf32>, tensor<4x8xf32>
    rec.yield %S2, %R2 : tensor<4x8xf32>, tensor<4x8xf32>
  } -> tensor<?x2x4x8xf32>, tensor<?x2x4x8xf32>
  return %R1 : tensor<?x2x4x8xf32>
}
