// RUN: tidegate-opt %s --verify-roundtrip | FileCheck %s
// RUN: tidegate-opt %s --mlir-print-op-generic | FileCheck %s --check-prefix=GENERIC

// CHECK-LABEL: func.func @token_form
func.func @token_form(%a: tensor<?x?x2x4xf32>, %v: tensor<?x?x2x8xf32>, %s0: tensor<?x2x4x8xf32>) {
  // CHECK:      %{{.*}}:2 = rec.scan chunk 1(%{{.*}}, %{{.*}}, %{{.*}} : tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x8xf32>)
  // CHECK-SAME: init(%{{.*}} : tensor<?x2x4x8xf32>) kinds [0, 0, 0] out_kinds [0] states 1 {
  // CHECK:      rec.yield %{{.*}}, %{{.*}} : tensor<8xf32>, tensor<4x8xf32>
  // CHECK-NEXT: } -> tensor<?x?x2x8xf32>, tensor<?x2x4x8xf32>
  // GENERIC:      "rec.scan"(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}) <{chunk = 1 : i64, kinds = array<i64: 0, 0, 0>, num_states = 1 : i64,
  // GENERIC-SAME: operandSegmentSizes = array<i32: 3, 1>, out_kinds = array<i64: 0>}>
  %o, %s = rec.scan chunk 1 (%a, %a, %v : tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x8xf32>)
      init (%s0 : tensor<?x2x4x8xf32>) kinds [0, 0, 0] out_kinds [0] states 1 {
  ^bb0(%at: tensor<4xf32>, %kt: tensor<4xf32>, %vt: tensor<8xf32>, %S: tensor<4x8xf32>):
    %d = nn.reshape %at : tensor<4xf32> -> tensor<4x1xf32>
    %decayed = nn.mul %d, %S : tensor<4x1xf32>, tensor<4x8xf32>
    %kv = nn.dot %kt, %vt contract [] x [] : tensor<4xf32>, tensor<8xf32>
    %next = nn.add %decayed, %kv : tensor<4x8xf32>, tensor<4x8xf32>
    %ot = nn.dot %kt, %next contract [0] x [0] : tensor<4xf32>, tensor<4x8xf32>
    rec.yield %ot, %next : tensor<8xf32>, tensor<4x8xf32>
  } -> tensor<?x?x2x8xf32>, tensor<?x2x4x8xf32>
  return
}

// CHECK-LABEL: func.func @chunk_form_with_every_kind
func.func @chunk_form_with_every_kind(%x: tensor<3x40x2x4xf32>, %p: tensor<3x3x2x5xf32>, %h: tensor<2x4xf32>, %w: tensor<7xf32>, %r: tensor<3x2x4xf32>) {
  // CHECK:      %{{.*}}:4 = rec.scan reverse save_states chunk 16(
  // CHECK-SAME: kinds [0, 1, 2, 3, 4] out_kinds [0, 1] states 1 {
  // CHECK:      rec.reset %{{.*}}, %{{.*}} : tensor<4xf32>, tensor<f32>
  // CHECK-NEXT: rec.reset %{{.*}}, %{{.*}} to %{{.*}} : tensor<4xf32>, tensor<f32>, tensor<4xf32>
  // CHECK:      } -> tensor<3x40x2x4xf32>, tensor<3x3x2x5xf32>, tensor<3x2x4xf32>, tensor<3x3x2x4xf32>
  // GENERIC:    "rec.scan"
  // GENERIC-SAME: reverse, save_states}>
  %o, %e, %s, %entries = rec.scan reverse save_states chunk 16
      (%x, %p, %h, %w, %r : tensor<3x40x2x4xf32>, tensor<3x3x2x5xf32>, tensor<2x4xf32>, tensor<7xf32>, tensor<3x2x4xf32>)
      kinds [0, 1, 2, 3, 4] out_kinds [0, 1] states 1 {
  ^bb0(%xs: tensor<16x4xf32>, %ps: tensor<5xf32>, %hs: tensor<4xf32>, %ws: tensor<7xf32>, %rs: tensor<4xf32>, %S: tensor<4xf32>):
    %f = nn.constant 1.0 : tensor<f32>
    %anew = rec.reset %S, %f : tensor<4xf32>, tensor<f32>
    %from = rec.reset %anew, %f to %rs : tensor<4xf32>, tensor<f32>, tensor<4xf32>
    %next = nn.add %from, %hs : tensor<4xf32>, tensor<4xf32>
    rec.yield %xs, %ps, %next : tensor<16x4xf32>, tensor<5xf32>, tensor<4xf32>
  } -> tensor<3x40x2x4xf32>, tensor<3x3x2x5xf32>, tensor<3x2x4xf32>, tensor<3x3x2x4xf32>
  return
}

// CHECK-LABEL: func.func @tiles
func.func @tiles(%q: tensor<64x8xf32>, %k: tensor<128x8xf32>, %gq: tensor<64x1xf32>, %gk: tensor<128x1xf32>,
                 %m: tensor<64x64xf32>) {
  // CHECK: rec.cumsum %{{.*}} : tensor<64x8xf32>
  %0 = rec.cumsum %q : tensor<64x8xf32>
  // CHECK-NEXT: rec.cumsum %{{.*}} reverse exclusive : tensor<64x8xf32>
  // GENERIC: "rec.cumsum"(%{{.*}}) <{exclusive, reverse}> : (tensor<64x8xf32>) -> tensor<64x8xf32>
  %1 = rec.cumsum %q reverse exclusive : tensor<64x8xf32>
  // CHECK-NEXT: rec.decay_scores %{{.*}}, %{{.*}} at [3] x [0, 2] : (tensor<64x8xf32>, tensor<128x8xf32>) -> tensor<64x128xf32>
  %2 = rec.decay_scores %q, %k at [3] x [0, 2] : (tensor<64x8xf32>, tensor<128x8xf32>) -> tensor<64x128xf32>
  // CHECK-NEXT: rec.decay_scores %{{.*}}, %{{.*}} gates %{{.*}}, %{{.*}} at [3] x [0, 2]
  // GENERIC: "rec.decay_scores"(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}) <{col_positions = array<i64: 0, 2>, operandSegmentSizes = array<i32: 1, 1, 1, 1>, row_positions = array<i64: 3>}>
  %3 = rec.decay_scores %q, %k gates %gq, %gk at [3] x [0, 2]
      : (tensor<64x8xf32>, tensor<128x8xf32>, tensor<64x1xf32>, tensor<128x1xf32>) -> tensor<64x128xf32>
  // CHECK-NEXT: rec.decay_mix %{{.*}}, %{{.*}} gates %{{.*}}, %{{.*}} at [3] x [0, 2]
  %4 = rec.decay_mix %3, %k gates %gq, %gk at [3] x [0, 2]
      : (tensor<64x128xf32>, tensor<128x8xf32>, tensor<64x1xf32>, tensor<128x1xf32>) -> tensor<64x8xf32>
  // CHECK-NEXT: rec.decay_mix transposed %{{.*}}, %{{.*}} at [3] x [0, 2]
  %5 = rec.decay_mix transposed %3, %q at [3] x [0, 2] : (tensor<64x128xf32>, tensor<64x8xf32>) -> tensor<128x8xf32>
  // CHECK-NEXT: rec.decay_solve %{{.*}}, %{{.*}} factor %{{.*}} gates %{{.*}}, %{{.*}} at [0] x [1] : (
  %s = rec.decay_solve %m, %q factor %q gates %q, %q at [0] x [1]
      : (tensor<64x64xf32>, tensor<64x8xf32>, tensor<64x8xf32>, tensor<64x8xf32>, tensor<64x8xf32>) -> tensor<64x8xf32>
  // CHECK-NEXT: rec.decay_solve transposed %{{.*}}, %{{.*}} at [0] x [0] : (tensor<64x64xf32>, tensor<64x8xf32>) -> tensor<64x8xf32>
  %t = rec.decay_solve transposed %m, %q at [0] x [0] : (tensor<64x64xf32>, tensor<64x8xf32>) -> tensor<64x8xf32>
  // CHECK-NEXT: rec.solve_unit_lower %{{.*}}, %{{.*}} : tensor<64x64xf32>, tensor<64x8xf32> -> tensor<64x8xf32>
  %6 = rec.solve_unit_lower %m, %q : tensor<64x64xf32>, tensor<64x8xf32> -> tensor<64x8xf32>
  // CHECK-NEXT: rec.solve_unit_lower transposed
  // GENERIC: "rec.solve_unit_lower"(%{{.*}}, %{{.*}}) <{transposed}>
  %7 = rec.solve_unit_lower transposed %m, %6 : tensor<64x64xf32>, tensor<64x8xf32> -> tensor<64x8xf32>
  // CHECK-NEXT: rec.strictly_lower %{{.*}} : tensor<64x64xf32>
  %8 = rec.strictly_lower %m : tensor<64x64xf32>
  return
}

// The last chunk only reads; all rows of the batch start alike.
// CHECK-LABEL: func.func @last_chunk_reads
func.func @last_chunk_reads(%x: tensor<?x?x2x4xf32>, %s0: tensor<2x4x4xf32>) -> tensor<?x2x4x4xf32> {
  // CHECK: rec.scan chunk 8({{.*}}) init(%{{.*}} : tensor<2x4x4xf32>)
  %s = rec.scan chunk 8 (%x : tensor<?x?x2x4xf32>) init (%s0 : tensor<2x4x4xf32>) kinds [0] out_kinds [] states 1 {
  ^bb0(%r: tensor<8x4xf32>, %S: tensor<4x4xf32>):
    %u = nn.dot %r, %r contract [0] x [0] : tensor<8x4xf32>, tensor<8x4xf32>
    // CHECK: rec.unless_last %{{.*}}, %{{.*}} : tensor<4x4xf32>
    %n = rec.unless_last %u, %S : tensor<4x4xf32>
    rec.yield %n : tensor<4x4xf32>
  } -> tensor<?x2x4x4xf32>
  return %s : tensor<?x2x4x4xf32>
}

// Steps that a state marks.
// CHECK-LABEL: func.func @marked_steps
func.func @marked_steps(%x: tensor<?x?x2x4xf32>) -> tensor<?x2x4xf32> {
  %s, %m = rec.scan chunk 1 (%x : tensor<?x?x2x4xf32>) kinds [0] out_kinds [] states 2 {
  ^bb0(%r: tensor<4xf32>, %S: tensor<4xf32>, %M: tensor<3xf32>):
    // CHECK: rec.when %{{.*}}, %{{.*}}, %{{.*}} : tensor<3xf32>, tensor<4xf32>
    %n = rec.when %M, %r, %S : tensor<3xf32>, tensor<4xf32>
    rec.yield %n, %M : tensor<4xf32>, tensor<3xf32>
  } -> tensor<?x2x4xf32>, tensor<?x2x3xf32>
  return %s : tensor<?x2x4xf32>
}

// Steps as functions of whole tensors.
// CHECK-LABEL: func.func @loop
func.func @loop(%x: tensor<?x?x2x4xf32>, %w: tensor<2x4x4xf32>) -> tensor<?x?x2x4xf32> {
  // CHECK: %{{.*}}:3 = rec.loop @loop.step last @loop.step save_states chunk 64(%{{.*}} : tensor<?x?x2x4xf32>) init(%{{.*}} : tensor<2x4x4xf32>) kinds [0] out_kinds [0] heads [2] states 1 -> tensor<?x?x2x4xf32>, tensor<?x2x4x4xf32>, tensor<?x?x2x4x4xf32>
  // GENERIC: "rec.loop"
  %o, %s, %e = rec.loop @loop.step last @loop.step save_states chunk 64 (%x : tensor<?x?x2x4xf32>) init (%w : tensor<2x4x4xf32>)
      kinds [0] out_kinds [0] heads [2] states 1 -> tensor<?x?x2x4xf32>, tensor<?x2x4x4xf32>, tensor<?x?x2x4x4xf32>
  return %o : tensor<?x?x2x4xf32>
}
func.func private @loop.step(%x: tensor<?x?x4xf32>, %S: tensor<?x4x4xf32>) -> (tensor<?x?x4xf32>, tensor<?x4x4xf32>) {
  return %x, %S : tensor<?x?x4xf32>, tensor<?x4x4xf32>
}
