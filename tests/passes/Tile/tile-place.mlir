// RUN: tidegate-opt %s -rec-to-tile -tile-place | FileCheck %s

// Values share memory when they do not live together (%b and %c lie where %q lay),
// and a barrier stands where one thread reads what another wrote.

// CHECK-LABEL: func.func @chain
// CHECK: %[[Q:.*]] = tile.load %{{.*}} at <shared, f32, swizzled = true, offset = [[AT:[0-9]+]]>
// CHECK-NOT: tile.barrier
// CHECK: %[[A:.*]] = tile.compute fragment at [#tile.place<shared, f32, swizzled = true, offset = {{[0-9]+}}>]
// CHECK: tile.barrier
// CHECK: %[[B:.*]] = tile.compute fragment at [#tile.place<shared, f32, swizzled = true, offset = [[AT]]>]
// CHECK: tile.barrier
// CHECK: tile.compute fragment at [#tile.place<result, f32, offset = 0>]
// CHECK: tile.shared_bytes = {{[0-9]+}}
func.func @chain(%q: tensor<?x?x1x64xf32>) -> tensor<?x?x1x64xf32> {
  %o = rec.scan chunk 64 (%q : tensor<?x?x1x64xf32>) kinds [0] out_kinds [0] states 0 {
  ^bb0(%qt: tensor<64x64xf32>):
    %a = nn.dot %qt, %qt contract [1] x [1] : tensor<64x64xf32>, tensor<64x64xf32>
    %b = nn.dot %a, %a contract [1] x [0] : tensor<64x64xf32>, tensor<64x64xf32>
    %c = nn.dot %b, %b contract [1] x [0] : tensor<64x64xf32>, tensor<64x64xf32>
    rec.yield %c : tensor<64x64xf32>
  } -> tensor<?x?x1x64xf32>
  return %o : tensor<?x?x1x64xf32>
}
