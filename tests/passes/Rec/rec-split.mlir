// RUN: tidegate-opt %s -rec-split -canonicalize -cse -split-input-file | FileCheck %s

// The chain of linear attention needs keys and values alone; outputs come from its entry states.

// CHECK-LABEL: func.func @linear_attention
// CHECK-SAME: %[[Q:.*]]: tensor<?x?x2x16xf32>, %[[K:.*]]: tensor<?x?x2x16xf32>, %[[V:.*]]: tensor<?x?x2x32xf32>
// CHECK: %[[CHAIN:.*]]:2 = rec.scan save_states chunk 64(%[[K]], %[[V]] : {{.*}}) kinds [0, 0] out_kinds [] states 1
// CHECK: nn.dot %{{.*}}, %{{.*}} contract [0] x [0]
// CHECK: %[[O:.*]] = rec.scan chunk 64(%[[Q]], %[[CHAIN]]#1 : tensor<?x?x2x16xf32>, tensor<?x?x2x16x32xf32>) kinds [0, 1] out_kinds [0] states 0
// CHECK: nn.dot %{{.*}}, %{{.*}} contract [1] x [0]
// CHECK: return %[[O]], %[[CHAIN]]#0
func.func @linear_attention(%q: tensor<?x?x2x16xf32>, %k: tensor<?x?x2x16xf32>, %v: tensor<?x?x2x32xf32>)
    -> (tensor<?x?x2x32xf32>, tensor<?x2x16x32xf32>) {
  %o, %s = rec.scan chunk 64 (%q, %k, %v : tensor<?x?x2x16xf32>, tensor<?x?x2x16xf32>, tensor<?x?x2x32xf32>)
      kinds [0, 0, 0] out_kinds [0] states 1 {
  ^bb0(%qt: tensor<64x16xf32>, %kt: tensor<64x16xf32>, %vt: tensor<64x32xf32>, %S: tensor<16x32xf32>):
    %ot = nn.dot %qt, %S contract [1] x [0] : tensor<64x16xf32>, tensor<16x32xf32>
    %kv = nn.dot %kt, %vt contract [0] x [0] : tensor<64x16xf32>, tensor<64x32xf32>
    %next = nn.add %S, %kv : tensor<16x32xf32>, tensor<16x32xf32>
    rec.yield %ot, %next : tensor<64x32xf32>, tensor<16x32xf32>
  } -> tensor<?x?x2x32xf32>, tensor<?x2x16x32xf32>
  return %o, %s : tensor<?x?x2x32xf32>, tensor<?x2x16x32xf32>
}

// -----

// A solve in the chain: the inverse is computed before, for every step on its own. What the chain computes may be an output.

// CHECK-LABEL: func.func @solve_in_the_chain
// CHECK: %[[T:.*]] = rec.scan chunk 64(%[[K:.*]] : tensor<?x?x2x16xf32>) kinds [0] out_kinds [1] states 0
// CHECK: %[[M:.*]] = rec.decay_scores
// CHECK: rec.solve_unit_lower %[[M]], %{{.*}} : tensor<64x64xf32>, tensor<64x64xf32>
// CHECK: } -> tensor<?x?x2x64x64xf32>
// CHECK: %[[CHAIN:.*]]:3 = rec.scan save_states chunk 64({{.*}}%[[T]] : {{.*}}) kinds [0, 0, 1] out_kinds [0] states 1
// CHECK-NOT: rec.solve_unit_lower
// CHECK-NOT: rec.scan
// CHECK: return %[[CHAIN]]#0
func.func @solve_in_the_chain(%k: tensor<?x?x2x16xf32>, %v: tensor<?x?x2x32xf32>) -> tensor<?x?x2x32xf32> {
  %o, %s = rec.scan chunk 64 (%k, %v : tensor<?x?x2x16xf32>, tensor<?x?x2x32xf32>)
      kinds [0, 0] out_kinds [0] states 1 {
  ^bb0(%kt: tensor<64x16xf32>, %vt: tensor<64x32xf32>, %S: tensor<16x32xf32>):
    %m = rec.decay_scores %kt, %kt at [0] x [1] : (tensor<64x16xf32>, tensor<64x16xf32>) -> tensor<64x64xf32>
    %ks = nn.dot %kt, %S contract [1] x [0] : tensor<64x16xf32>, tensor<16x32xf32>
    %y = nn.add %vt, %ks : tensor<64x32xf32>, tensor<64x32xf32>
    %n = rec.solve_unit_lower %m, %y : tensor<64x64xf32>, tensor<64x32xf32> -> tensor<64x32xf32>
    %kn = nn.dot %kt, %n contract [0] x [0] : tensor<64x16xf32>, tensor<64x32xf32>
    %next = nn.add %S, %kn : tensor<16x32xf32>, tensor<16x32xf32>
    rec.yield %n, %next : tensor<64x32xf32>, tensor<16x32xf32>
  } -> tensor<?x?x2x32xf32>, tensor<?x2x16x32xf32>
  return %o : tensor<?x?x2x32xf32>
}

// -----

// Rows of tokens that the chain computes and the outputs need are computed once: they are an output of the chain, and an
// operand of the scan behind it.

// CHECK-LABEL: func.func @pseudo_values
// CHECK-SAME: %[[K:.*]]: tensor<?x?x2x16xf32>, %[[V:.*]]: tensor<?x?x2x32xf32>
// CHECK: %[[CHAIN:.*]]:3 = rec.scan save_states chunk 64(%[[V]], %[[K]] : {{.*}}) kinds [0, 0] out_kinds [0] states 1
// CHECK-COUNT-2: nn.dot
// CHECK: rec.scan chunk 64(%[[K]], %[[CHAIN]]#0, %[[CHAIN]]#2 : {{.*}}) kinds [0, 0, 1] out_kinds [0] states 0
// CHECK-COUNT-3: nn.dot
// CHECK-NOT: nn.dot
func.func @pseudo_values(%k: tensor<?x?x2x16xf32>, %v: tensor<?x?x2x32xf32>) -> tensor<?x?x2x32xf32> {
  %o, %s = rec.scan chunk 64 (%k, %v : tensor<?x?x2x16xf32>, tensor<?x?x2x32xf32>)
      kinds [0, 0] out_kinds [0] states 1 {
  ^bb0(%kt: tensor<64x16xf32>, %vt: tensor<64x32xf32>, %S: tensor<16x32xf32>):
    %ks = nn.dot %kt, %S contract [1] x [0] : tensor<64x16xf32>, tensor<16x32xf32>
    %n = nn.sub %vt, %ks : tensor<64x32xf32>, tensor<64x32xf32>
    %p = nn.dot %kt, %kt contract [1] x [1] : tensor<64x16xf32>, tensor<64x16xf32>
    %pn = nn.dot %p, %n contract [1] x [0] : tensor<64x64xf32>, tensor<64x32xf32>
    %q = nn.neg %kt : tensor<64x16xf32>
    %qs = nn.dot %q, %S contract [1] x [0] : tensor<64x16xf32>, tensor<16x32xf32>
    %ot = nn.add %qs, %pn : tensor<64x32xf32>, tensor<64x32xf32>
    %kn = nn.dot %kt, %n contract [0] x [0] : tensor<64x16xf32>, tensor<64x32xf32>
    %next = nn.add %S, %kn : tensor<16x32xf32>, tensor<16x32xf32>
    rec.yield %ot, %next : tensor<64x32xf32>, tensor<16x32xf32>
  } -> tensor<?x?x2x32xf32>, tensor<?x2x16x32xf32>
  return %o : tensor<?x?x2x32xf32>
}

// -----

// Token form stays, and so does a scan without outputs.

// CHECK-LABEL: func.func @token_form_stays
// CHECK: rec.scan chunk 1(
// CHECK-NOT: rec.scan
func.func @token_form_stays(%k: tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32> {
  %o, %s = rec.scan chunk 1 (%k : tensor<?x?x2x4xf32>) kinds [0] out_kinds [0] states 1 {
  ^bb0(%kt: tensor<4xf32>, %S: tensor<4xf32>):
    %next = nn.add %S, %kt : tensor<4xf32>, tensor<4xf32>
    rec.yield %next, %next : tensor<4xf32>, tensor<4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4xf32>
  return %o : tensor<?x?x2x4xf32>
}
