// RUN: tidegate-opt %s -rec-to-tile=bf16 | FileCheck %s
// RUN: tidegate-opt %s -rec-to-tile | FileCheck %s --check-prefix=F32

// Operands of products are kept in bfloat16, the state in registers and, for the
// product, as a copy; scores under one decay for all channels are the epilogue of
// a plain product; the output leaves from the accumulators of two products.

// CHECK-LABEL: func.func @scalar_decay
// CHECK: %[[Q:.*]] = tile.load %{{.*}} at <shared, f32, swizzled = true>
// CHECK: %[[QB:.*]] = tile.compute elements at [#tile.place<shared, bf16, swizzled = true>]
// CHECK: %[[S:.*]] = tile.compute fragment at [#tile.place<shared, bf16, swizzled = true>] {
// CHECK-NEXT: tile.yield %[[STATE:.*]] : tensor<16x32xf32>
// CHECK: %[[P:.*]] = tile.compute fragment at [#tile.place<shared, bf16, swizzled = true>] {
// CHECK: %[[DOT:.*]] = nn.dot
// CHECK: %[[CAUSAL:.*]] = tile.causal %[[DOT]] gates
// CHECK: tile.yield %[[CAUSAL]]
// CHECK: %[[O:.*]] = tile.compute fragment at [#tile.place<result, f32, offset = 0>] {
// CHECK-COUNT-2: nn.dot
// CHECK: nn.add
// CHECK: %[[NEXT:.*]] = tile.compute fragment at [#tile.place<registers, f32, offset = 0>] {
// CHECK: nn.mul %{{.*}}, %[[STATE]]
// CHECK: rec.yield %[[O]], %[[NEXT]]

// In float nothing is copied.
// F32-LABEL: func.func @scalar_decay
// F32-NOT: bf16
// F32: rec.yield
func.func @scalar_decay(%q: tensor<?x?x2x16xf32>, %k: tensor<?x?x2x16xf32>, %v: tensor<?x?x2x32xf32>, %g: tensor<?x?x2x1xf32>)
    -> tensor<?x?x2x32xf32> {
  %o, %s = rec.scan chunk 64 (%q, %k, %v, %g : tensor<?x?x2x16xf32>, tensor<?x?x2x16xf32>, tensor<?x?x2x32xf32>, tensor<?x?x2x1xf32>)
      kinds [0, 0, 0, 0] out_kinds [0] states 1 {
  ^bb0(%qt: tensor<64x16xf32>, %kt: tensor<64x16xf32>, %vt: tensor<64x32xf32>, %gt: tensor<64x1xf32>, %S: tensor<16x32xf32>):
    %sum = rec.cumsum %gt : tensor<64x1xf32>
    %p = rec.decay_scores %qt, %kt gates %sum, %sum at [2] x [1]
        : (tensor<64x16xf32>, tensor<64x16xf32>, tensor<64x1xf32>, tensor<64x1xf32>) -> tensor<64x64xf32>
    %of = nn.dot %qt, %S contract [1] x [0] : tensor<64x16xf32>, tensor<16x32xf32>
    %pv = nn.dot %p, %vt contract [1] x [0] : tensor<64x64xf32>, tensor<64x32xf32>
    %ot = nn.add %of, %pv : tensor<64x32xf32>, tensor<64x32xf32>
    %kv = nn.dot %kt, %vt contract [0] x [0] : tensor<64x16xf32>, tensor<64x32xf32>
    %half = nn.constant 0.5 : tensor<f32>
    %decayed = nn.mul %half, %S : tensor<f32>, tensor<16x32xf32>
    %next = nn.add %decayed, %kv : tensor<16x32xf32>, tensor<16x32xf32>
    rec.yield %ot, %next : tensor<64x32xf32>, tensor<16x32xf32>
  } -> tensor<?x?x2x32xf32>, tensor<?x2x16x32xf32>
  return %o : tensor<?x?x2x32xf32>
}

// A large operand of a scan without states is streamed into its product; the product stays in registers, where an
// output and a sum of rows read it.

// CHECK-LABEL: func.func @streamed
// CHECK: %[[Q:.*]] = tile.load
// CHECK: %[[S:.*]] = tile.stream %{{.*}} along 1 slices 64 at <shared, bf16, swizzled = true> : tensor<256x128xf32>
// CHECK: tile.compute fragment at [#tile.place<result, f32, offset = 0>, #tile.place<shared, f32>] {
// CHECK-DAG: %[[DOT:.*]] = nn.dot %{{.*}}, %[[S]] contract [1] x [1]
// CHECK-DAG: %[[HALF:.*]] = nn.mul %[[DOT]]
// CHECK-DAG: %[[SUM:.*]] = nn.reduce_sum %[[DOT]] [1]
// CHECK: tile.yield %[[HALF]], %[[SUM]]
func.func @streamed(%q: tensor<?x?x2x128xf32>, %s: tensor<?x?x2x256x128xf32>) -> (tensor<?x?x2x256xf32>, tensor<?x?x2x1xf32>) {
  %o, %r = rec.scan chunk 64 (%q, %s : tensor<?x?x2x128xf32>, tensor<?x?x2x256x128xf32>) kinds [0, 1] out_kinds [0, 0] states 0 {
  ^bb0(%qt: tensor<64x128xf32>, %S: tensor<256x128xf32>):
    %qs = nn.dot %qt, %S contract [1] x [1] : tensor<64x128xf32>, tensor<256x128xf32>
    %half = nn.constant 0.5 : tensor<f32>
    %ot = nn.mul %qs, %half : tensor<64x256xf32>, tensor<f32>
    %sum = nn.reduce_sum %qs [1] : tensor<64x256xf32>
    %rt = nn.neg %sum : tensor<64x1xf32>
    rec.yield %ot, %rt : tensor<64x256xf32>, tensor<64x1xf32>
  } {nn.storage = [f32, bf16, f32, f32]} -> tensor<?x?x2x256xf32>, tensor<?x?x2x1xf32>
  return %o, %r : tensor<?x?x2x256xf32>, tensor<?x?x2x1xf32>
}

// A solve under decays of the values: its right side is a statement of the tensor cores, the solve one of its own,
// which takes matrix, factor and gates as float tiles; what a product reads of it is kept twice.

// CHECK-LABEL: func.func @solve_under_decay
// CHECK: %[[RHS:.*]] = tile.compute fragment at [#tile.place<shared, f32, swizzled = true>]
// CHECK: %[[N:.*]]:3 = tile.compute solve at [#tile.place<shared, bf16, swizzled = true>, #tile.place<shared, f32, swizzled = true>, #tile.place<result, f32, offset = 0>]
// CHECK: rec.decay_solve %{{.*}}, %[[RHS]] factor %{{.*}} gates %{{.*}}, %{{.*}} at [0] x [1]
// CHECK: tile.compute fragment
// CHECK: nn.dot %[[N]]#0
func.func @solve_under_decay(%k: tensor<?x?x2x16xf32>, %v: tensor<?x?x2x32xf32>, %f: tensor<?x?x2x32xf32>,
    %g: tensor<?x?x2x32xf32>, %m: tensor<?x?x2x64x64xf32>) -> tensor<?x?x2x32xf32> {
  %o, %s = rec.scan chunk 64 (%k, %v, %f, %g, %m : tensor<?x?x2x16xf32>, tensor<?x?x2x32xf32>, tensor<?x?x2x32xf32>, tensor<?x?x2x32xf32>, tensor<?x?x2x64x64xf32>)
      kinds [0, 0, 0, 0, 1] out_kinds [0] states 1 {
  ^bb0(%kt: tensor<64x16xf32>, %vt: tensor<64x32xf32>, %ft: tensor<64x32xf32>, %gt: tensor<64x32xf32>, %mt: tensor<64x64xf32>, %S: tensor<32x16xf32>):
    %ks = nn.dot %kt, %S contract [1] x [1] : tensor<64x16xf32>, tensor<32x16xf32>
    %y = nn.sub %vt, %ks : tensor<64x32xf32>, tensor<64x32xf32>
    %n = rec.decay_solve %mt, %y factor %ft gates %gt, %gt at [0] x [1]
        : (tensor<64x64xf32>, tensor<64x32xf32>, tensor<64x32xf32>, tensor<64x32xf32>, tensor<64x32xf32>) -> tensor<64x32xf32>
    %kv = nn.dot %n, %kt contract [0] x [0] : tensor<64x32xf32>, tensor<64x16xf32>
    %next = nn.add %S, %kv : tensor<32x16xf32>, tensor<32x16xf32>
    rec.yield %n, %next : tensor<64x32xf32>, tensor<32x16xf32>
  } -> tensor<?x?x2x32xf32>, tensor<?x2x32x16xf32>
  return %o : tensor<?x?x2x32xf32>
}

// An operand kept in float, and a solution, which is solved in float: what products read of them, rounded, others read.

// CHECK-LABEL: func.func @one_number_to_all
// CHECK: %[[X:.*]] = tile.load %arg{{.*}} at <shared, f32, swizzled = true>
// CHECK: %[[XB:.*]] = tile.compute elements at [#tile.place<shared, bf16, swizzled = true>] {
// CHECK-NEXT: tile.yield %[[X]]
// CHECK: %[[N:.*]]:2 = tile.compute solve at [#tile.place<shared, bf16, swizzled = true>, #tile.place<shared, f32, swizzled = true>]
// CHECK: nn.dot %[[N]]#0, %[[XB]]
// CHECK: nn.mul %[[N]]#0, %[[XB]]
func.func @one_number_to_all(%x: tensor<?x?x2x32xf32>, %y: tensor<?x?x2x32xf32>, %m: tensor<?x?x2x64x64xf32>)
    -> (tensor<?x?x2x64x64xf32>, tensor<?x?x2x32xf32>) {
  %p, %o = rec.scan chunk 64 (%x, %y, %m : tensor<?x?x2x32xf32>, tensor<?x?x2x32xf32>, tensor<?x?x2x64x64xf32>)
      kinds [0, 0, 1] out_kinds [1, 0] states 0 {
  ^bb0(%xt: tensor<64x32xf32>, %yt: tensor<64x32xf32>, %mt: tensor<64x64xf32>):
    %n = rec.decay_solve %mt, %yt at [0] x [1] : (tensor<64x64xf32>, tensor<64x32xf32>) -> tensor<64x32xf32>
    %nx = nn.dot %n, %xt contract [1] x [1] : tensor<64x32xf32>, tensor<64x32xf32>
    %ot = nn.mul %n, %xt : tensor<64x32xf32>, tensor<64x32xf32>
    rec.yield %nx, %ot : tensor<64x64xf32>, tensor<64x32xf32>
  } -> tensor<?x?x2x64x64xf32>, tensor<?x?x2x32xf32>
  return %p, %o : tensor<?x?x2x64x64xf32>, tensor<?x?x2x32xf32>
}
