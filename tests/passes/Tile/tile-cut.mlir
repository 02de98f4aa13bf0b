// RUN: tidegate-opt %s -tile-cut=bytes=40000 -split-input-file | FileCheck %s
// RUN: tidegate-opt %s -tile-cut="bytes=40000 bf16" -split-input-file | FileCheck %s --check-prefix=BF16

// Two products one after another, too much for 40,000 bytes: the first gives its rows to the second through memory, one
// matrix a step; the exponential that both need is computed again. What the second product multiplies is rounded where
// products are.

// CHECK-LABEL: func.func @two_products
// CHECK-SAME: %[[Q:.*]]: tensor<?x?x2x64xf32>, %[[K:.*]]: tensor<?x?x2x64xf32>, %[[W:.*]]: tensor<?x?x2x64xf32>
// CHECK: %[[P:.*]] = rec.scan chunk 64(%[[Q]], %[[K]] : {{.*}}) kinds [0, 0] out_kinds [1] states 0 {
// CHECK: nn.exp
// CHECK: nn.dot
// CHECK-NOT: nn.dot
// CHECK: rec.yield %{{.*}} : tensor<64x64xf32>
// CHECK: } {nn.storage = [f32, f32, f32]} -> tensor<?x?x2x64x64xf32>
// CHECK: %[[O:.*]] = rec.scan chunk 64(%[[Q]], %[[W]], %[[P]] : {{.*}}) kinds [0, 0, 1] out_kinds [0] states 0 {
// CHECK: nn.exp
// CHECK: nn.dot
// CHECK: return %[[O]]
// BF16-LABEL: func.func @two_products
// BF16: } {nn.storage = [f32, f32, bf16]} -> tensor<?x?x2x64x64xf32>
// BF16: } {nn.storage = [f32, f32, bf16, f32]} -> tensor<?x?x2x64xf32>
func.func @two_products(%q: tensor<?x?x2x64xf32>, %k: tensor<?x?x2x64xf32>, %w: tensor<?x?x2x64xf32>)
    -> tensor<?x?x2x64xf32> {
  %o = rec.scan chunk 64 (%q, %k, %w : tensor<?x?x2x64xf32>, tensor<?x?x2x64xf32>, tensor<?x?x2x64xf32>)
      kinds [0, 0, 0] out_kinds [0] states 0 {
  ^bb0(%qt: tensor<64x64xf32>, %kt: tensor<64x64xf32>, %wt: tensor<64x64xf32>):
    %e = nn.exp %qt : tensor<64x64xf32>
    %p = nn.dot %e, %kt contract [1] x [1] : tensor<64x64xf32>, tensor<64x64xf32>
    %r = nn.dot %p, %wt contract [1] x [0] : tensor<64x64xf32>, tensor<64x64xf32>
    %s = nn.mul %r, %e : tensor<64x64xf32>, tensor<64x64xf32>
    rec.yield %s : tensor<64x64xf32>
  } {nn.storage = [f32, f32, f32, f32]} -> tensor<?x?x2x64xf32>
  return %o : tensor<?x?x2x64xf32>
}

// -----

// A product by itself needs what it needs: nothing is gained.

// CHECK-LABEL: func.func @one_product
// CHECK-COUNT-1: rec.scan
// CHECK-NOT: rec.scan
// CHECK: return
func.func @one_product(%q: tensor<?x?x2x128xf32>, %k: tensor<?x?x2x128xf32>) -> tensor<?x?x2x64xf32> {
  %o = rec.scan chunk 64 (%q, %k : tensor<?x?x2x128xf32>, tensor<?x?x2x128xf32>)
      kinds [0, 0] out_kinds [0] states 0 {
  ^bb0(%qt: tensor<64x128xf32>, %kt: tensor<64x128xf32>):
    %p = nn.dot %qt, %kt contract [1] x [1] : tensor<64x128xf32>, tensor<64x128xf32>
    rec.yield %p : tensor<64x64xf32>
  } -> tensor<?x?x2x64xf32>
  return %o : tensor<?x?x2x64xf32>
}

// -----

// What fits stays whole.

// CHECK-LABEL: func.func @small
// CHECK-COUNT-1: rec.scan
// CHECK-NOT: rec.scan
// CHECK: return
func.func @small(%q: tensor<?x?x2x16xf32>, %k: tensor<?x?x2x16xf32>) -> tensor<?x?x2x16xf32> {
  %o = rec.scan chunk 16 (%q, %k : tensor<?x?x2x16xf32>, tensor<?x?x2x16xf32>)
      kinds [0, 0] out_kinds [0] states 0 {
  ^bb0(%qt: tensor<16x16xf32>, %kt: tensor<16x16xf32>):
    %p = nn.dot %qt, %kt contract [1] x [1] : tensor<16x16xf32>, tensor<16x16xf32>
    %r = nn.dot %p, %kt contract [1] x [0] : tensor<16x16xf32>, tensor<16x16xf32>
    rec.yield %r : tensor<16x16xf32>
  } -> tensor<?x?x2x16xf32>
  return %o : tensor<?x?x2x16xf32>
}
