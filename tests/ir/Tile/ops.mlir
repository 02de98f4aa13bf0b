// RUN: tidegate-opt %s --verify-roundtrip | FileCheck %s
// RUN: tidegate-opt %s --mlir-print-op-generic | FileCheck %s --check-prefix=GENERIC

// CHECK-LABEL: func.func @scores
// CHECK: tile.load %{{.*}} at <shared, bf16, swizzled = true, offset = 1024> stages 2 : tensor<64x32xf32>
// CHECK: tile.barrier
// CHECK: tile.compute fragment at [#tile.place<shared, bf16, swizzled = true>, #tile.place<result, f32, offset = 0>]
// CHECK: tile.causal %{{.*}} at [1] x [0] : tensor<64x64xf32>
// CHECK: tile.round %{{.*}} : tensor<64x64xf32>
// CHECK: tile.yield %{{.*}}, %{{.*}} : tensor<64x64xf32>, tensor<64x64xf32>
// GENERIC: "tile.compute"
func.func @scores(%q: tensor<?x?x2x32xf32>) {
  %o = rec.scan chunk 64 (%q : tensor<?x?x2x32xf32>) kinds [0] out_kinds [1] states 0 {
  ^bb0(%qt: tensor<64x32xf32>):
    %t = tile.load %qt at <shared, bf16, swizzled = true, offset = 1024> stages 2 : tensor<64x32xf32>
    tile.barrier
    %p:2 = tile.compute fragment at [#tile.place<shared, bf16, swizzled = true>, #tile.place<result, f32, offset = 0>] {
      %0 = nn.dot %t, %t contract [1] x [1] : tensor<64x32xf32>, tensor<64x32xf32>
      %1 = tile.causal %0 at [1] x [0] : tensor<64x64xf32>
      %2 = tile.round %1 : tensor<64x64xf32>
      tile.yield %1, %2 : tensor<64x64xf32>, tensor<64x64xf32>
    } : tensor<64x64xf32>, tensor<64x64xf32>
    rec.yield %p#1 : tensor<64x64xf32>
  } -> tensor<?x?x2x64x64xf32>
  return
}
