// RUN: tidegate-opt %s -split-input-file --rec-to-chunk="chunk=64 remarks=1" -verify-diagnostics | FileCheck %s

// The bounds of a gate decide how products under its decay are evaluated.
// First a decay per channel that cannot fall below e^-0.5: over 64 tokens
// e^-32, so both sides of a plain product take their share.

// CHECK-LABEL: func.func @bounded_by_a_sigmoid(
// CHECK:         rec.scan chunk 64
// CHECK:           rec.decay_scores %{{.*}}, %{{.*}} at [2] x [1] : (tensor<64x4xf32>, tensor<64x4xf32>) -> tensor<64x64xf32>
func.func @bounded_by_a_sigmoid(%x: tensor<?x?x2x4xf32>, %k: tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32> {
  %half = nn.constant -0.5 : tensor<f32>
  %s = nn.sigmoid %x : tensor<?x?x2x4xf32>
  %g = nn.mul %half, %s : tensor<f32>, tensor<?x?x2x4xf32>
  // expected-remark @below {{log decay in [-0.5, 0] per token: over 64 tokens in [-32, 0], within 60, so decays are factored into plain products}}
  %a = nn.exp %g : tensor<?x?x2x4xf32>
  %o, %f = rec.scan chunk 1 (%a, %k : tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) kinds [0, 0] out_kinds [0] states 1 {
  ^bb0(%at: tensor<4xf32>, %kt: tensor<4xf32>, %S: tensor<4x4xf32>):
    %c = nn.reshape %at : tensor<4xf32> -> tensor<4x1xf32>
    %d = nn.mul %c, %S : tensor<4x1xf32>, tensor<4x4xf32>
    %kv = nn.dot %kt, %kt contract [] x [] : tensor<4xf32>, tensor<4xf32>
    %n = nn.add %d, %kv : tensor<4x4xf32>, tensor<4x4xf32>
    %ot = nn.dot %kt, %n contract [0] x [0] : tensor<4xf32>, tensor<4x4xf32>
    rec.yield %ot, %n : tensor<4xf32>, tensor<4x4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4x4xf32>
  return %o : tensor<?x?x2x4xf32>
}

// -----

// The same without a bound: log(sigmoid(x)) falls as far as x does.

// CHECK-LABEL: func.func @not_bounded(
// CHECK:           rec.decay_scores %{{.*}}, %{{.*}} gates %{{.*}}, %{{.*}} at [2] x [1] : (tensor<64x4xf32>, tensor<64x4xf32>, tensor<64x4xf32>, tensor<64x4xf32>)
func.func @not_bounded(%x: tensor<?x?x2x4xf32>, %k: tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32> {
  %o, %f = rec.scan chunk 1 (%x, %k : tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) kinds [0, 0] out_kinds [0] states 1 {
  ^bb0(%xt: tensor<4xf32>, %kt: tensor<4xf32>, %S: tensor<4x4xf32>):
    // expected-remark @below {{log decay at most 0, with no lower bound per token: over 64 tokens beyond 60 or not known to be within, so products run in blocks of tokens with an anchor each}}
    %at = nn.sigmoid %xt : tensor<4xf32>
    %c = nn.reshape %at : tensor<4xf32> -> tensor<4x1xf32>
    %d = nn.mul %c, %S : tensor<4x1xf32>, tensor<4x4xf32>
    %kv = nn.dot %kt, %kt contract [] x [] : tensor<4xf32>, tensor<4xf32>
    %n = nn.add %d, %kv : tensor<4x4xf32>, tensor<4x4xf32>
    %ot = nn.dot %kt, %n contract [0] x [0] : tensor<4xf32>, tensor<4x4xf32>
    rec.yield %ot, %n : tensor<4xf32>, tensor<4x4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4x4xf32>
  return %o : tensor<?x?x2x4xf32>
}

// -----

// A clamp of the decay itself bounds its logarithm. 64 times log 0.5 = -0.6931
// would do in f32, but the second decay of a token may grow by e^64.

// CHECK-LABEL: func.func @two_clamped(
// CHECK:           rec.decay_scores %{{.*}}, %{{.*}} gates
func.func @two_clamped(%x: tensor<?x?x2x4xf32>, %y: tensor<?x?x2xf32>, %k: tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32> {
  %o, %f = rec.scan chunk 1 (%x, %y, %k : tensor<?x?x2x4xf32>, tensor<?x?x2xf32>, tensor<?x?x2x4xf32>) kinds [0, 0, 0] out_kinds [0] states 1 {
  ^bb0(%xt: tensor<4xf32>, %yt: tensor<f32>, %kt: tensor<4xf32>, %S: tensor<4x4xf32>):
    %low = nn.constant 0.5 : tensor<f32>
    %one = nn.constant 1.0 : tensor<f32>
    %xm = nn.minimum %xt, %one : tensor<4xf32>, tensor<f32>
    // expected-remark @below {{log decay in [-0.6931, 0] per token}}
    %at = nn.maximum %xm, %low : tensor<4xf32>, tensor<f32>
    %c = nn.reshape %at : tensor<4xf32> -> tensor<4x1xf32>
    %d = nn.mul %c, %S : tensor<4x1xf32>, tensor<4x4xf32>
    %kv = nn.dot %kt, %kt contract [] x [] : tensor<4xf32>, tensor<4xf32>
    %n = nn.add %d, %kv : tensor<4x4xf32>, tensor<4x4xf32>
    %ot = nn.dot %kt, %n contract [0] x [0] : tensor<4xf32>, tensor<4x4xf32>
    %t = nn.tanh %yt : tensor<f32>
    %t2 = nn.mul %t, %t : tensor<f32>, tensor<f32>
    // expected-remark @below {{log decay in [0, 1] per token}}
    %b = nn.exp %t2 : tensor<f32>
    %m = nn.mul %b, %n : tensor<f32>, tensor<4x4xf32>
    %ut = nn.dot %kt, %m contract [0] x [0] : tensor<4xf32>, tensor<4x4xf32>
    %sum = nn.add %ot, %ut : tensor<4xf32>, tensor<4xf32>
    rec.yield %sum, %m : tensor<4xf32>, tensor<4x4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4x4xf32>
  return %o : tensor<?x?x2x4xf32>
}

// -----

// f64 has room for more; a constant, a quotient, a softplus and a selection are followed.

// CHECK-LABEL: func.func @f64_has_room(
// CHECK:           rec.decay_scores %{{.*}}, %{{.*}} at [2] x [1] : (tensor<64x4xf64>, tensor<64x4xf64>) -> tensor<64x64xf64>
func.func @f64_has_room(%x: tensor<?x?x2x4xf64>, %k: tensor<?x?x2x4xf64>) -> tensor<?x?x2x4xf64> {
  %o, %f = rec.scan chunk 1 (%x, %k : tensor<?x?x2x4xf64>, tensor<?x?x2x4xf64>) kinds [0, 0] out_kinds [0] states 1 {
  ^bb0(%xt: tensor<4xf64>, %kt: tensor<4xf64>, %S: tensor<4x4xf64>):
    %one = nn.constant 1.0 : tensor<f64>
    %half = nn.constant 0.5 : tensor<f64>
    %p = nn.softplus %xt : tensor<4xf64>
    %p1 = nn.add %p, %half : tensor<4xf64>, tensor<f64>
    %r = nn.div %one, %p1 : tensor<f64>, tensor<4xf64>
    %big = nn.greater %xt, %one : tensor<4xf64>, tensor<f64>
    %w = nn.select %big, %r, %half : tensor<4xf64>, tensor<4xf64>, tensor<f64>
    %g = nn.neg %w : tensor<4xf64>
    // expected-remark @below {{log decay in [-2, 0] per token: over 64 tokens in [-128, 0], within 500}}
    %at = nn.exp %g : tensor<4xf64>
    %c = nn.reshape %at : tensor<4xf64> -> tensor<4x1xf64>
    %d = nn.mul %c, %S : tensor<4x1xf64>, tensor<4x4xf64>
    %kv = nn.dot %kt, %kt contract [] x [] : tensor<4xf64>, tensor<4xf64>
    %n = nn.add %d, %kv : tensor<4x4xf64>, tensor<4x4xf64>
    %ot = nn.dot %kt, %n contract [0] x [0] : tensor<4xf64>, tensor<4x4xf64>
    rec.yield %ot, %n : tensor<4xf64>, tensor<4x4xf64>
  } -> tensor<?x?x2x4xf64>, tensor<?x2x4x4xf64>
  return %o : tensor<?x?x2x4xf64>
}

// -----

// One number for all channels needs no bound.

// CHECK-LABEL: func.func @one_number(
// CHECK:           rec.decay_scores %{{.*}}, %{{.*}} gates %{{.*}}, %{{.*}} at [2] x [1] : (tensor<64x4xf32>, tensor<64x4xf32>, tensor<64x1xf32>, tensor<64x1xf32>)
func.func @one_number(%x: tensor<?x?x2xf32>, %k: tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32> {
  %o, %f = rec.scan chunk 1 (%x, %k : tensor<?x?x2xf32>, tensor<?x?x2x4xf32>) kinds [0, 0] out_kinds [0] states 1 {
  ^bb0(%xt: tensor<f32>, %kt: tensor<4xf32>, %S: tensor<4x4xf32>):
    // expected-remark @below {{log decay not bounded per token: one number for all channels, so a 64 x 64 matrix of decays multiplies a plain product}}
    %at = nn.exp %xt : tensor<f32>
    %d = nn.mul %at, %S : tensor<f32>, tensor<4x4xf32>
    %kv = nn.dot %kt, %kt contract [] x [] : tensor<4xf32>, tensor<4xf32>
    %n = nn.add %d, %kv : tensor<4x4xf32>, tensor<4x4xf32>
    %ot = nn.dot %kt, %n contract [0] x [0] : tensor<4xf32>, tensor<4x4xf32>
    rec.yield %ot, %n : tensor<4xf32>, tensor<4x4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4x4xf32>
  return %o : tensor<?x?x2x4xf32>
}

// -----

// A decay along the values has no product of keys to enter.

// CHECK-LABEL: func.func @along_the_values(
// CHECK:           rec.decay_scores %{{.*}}, %{{.*}} at [1] x [1] : (tensor<64x4xf32>, tensor<64x4xf32>) -> tensor<64x64xf32>
// CHECK:           rec.decay_mix
func.func @along_the_values(%x: tensor<?x?x2x8xf32>, %k: tensor<?x?x2x4xf32>) -> tensor<?x?x2x8xf32> {
  %o, %f = rec.scan chunk 1 (%x, %k : tensor<?x?x2x8xf32>, tensor<?x?x2x4xf32>) kinds [0, 0] out_kinds [0] states 1 {
  ^bb0(%xt: tensor<8xf32>, %kt: tensor<4xf32>, %S: tensor<4x8xf32>):
    // expected-remark @below {{decay along the values: what earlier tokens added is summed value by value, under decays of one token to the next}}
    %bt = nn.sigmoid %xt : tensor<8xf32>
    %d = nn.mul %S, %bt : tensor<4x8xf32>, tensor<8xf32>
    %ot = nn.dot %kt, %d contract [0] x [0] : tensor<4xf32>, tensor<4x8xf32>
    %kv = nn.dot %kt, %xt contract [] x [] : tensor<4xf32>, tensor<8xf32>
    %n = nn.add %d, %kv : tensor<4x8xf32>, tensor<4x8xf32>
    rec.yield %ot, %n : tensor<8xf32>, tensor<4x8xf32>
  } -> tensor<?x?x2x8xf32>, tensor<?x2x4x8xf32>
  return %o : tensor<?x?x2x8xf32>
}
