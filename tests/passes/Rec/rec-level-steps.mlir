// RUN: tidegate-opt %s -rec-level-steps | FileCheck %s

// Two chains that do the same: their products stand side by side.

// CHECK-LABEL: func.func private @loop.step
// CHECK-SAME: %[[X:.*]]: tensor<?x?x4xf32>, %[[S:.*]]: tensor<?x4x4xf32>, %[[R:.*]]: tensor<?x4x4xf32>)
// CHECK-NEXT: %[[A:.*]] = nn.dot %[[S]], %[[S]]
// CHECK-NEXT: %[[B:.*]] = nn.dot %[[R]], %[[R]]
// CHECK-NEXT: nn.dot %[[X]], %[[S]]
// CHECK-NEXT: nn.dot %[[A]], %[[S]]
// CHECK-NEXT: nn.dot %[[B]], %[[R]]
func.func @loop(%x: tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32> {
  %o, %s, %r = rec.loop @loop.step last @loop.step chunk 64 (%x : tensor<?x?x2x4xf32>) kinds [0] out_kinds [0] heads [2] states 2
      -> tensor<?x?x2x4xf32>, tensor<?x2x4x4xf32>, tensor<?x2x4x4xf32>
  return %o : tensor<?x?x2x4xf32>
}
func.func private @loop.step(%x: tensor<?x?x4xf32>, %S: tensor<?x4x4xf32>, %R: tensor<?x4x4xf32>)
    -> (tensor<?x?x4xf32>, tensor<?x4x4xf32>, tensor<?x4x4xf32>) {
  %a = nn.dot %S, %S batch [0] x [0] contract [2] x [2] : tensor<?x4x4xf32>, tensor<?x4x4xf32>
  %s = nn.dot %a, %S batch [0] x [0] contract [2] x [1] : tensor<?x4x4xf32>, tensor<?x4x4xf32>
  %y = nn.dot %x, %S batch [0] x [0] contract [2] x [1] : tensor<?x?x4xf32>, tensor<?x4x4xf32>
  %b = nn.dot %R, %R batch [0] x [0] contract [2] x [2] : tensor<?x4x4xf32>, tensor<?x4x4xf32>
  %r = nn.dot %b, %R batch [0] x [0] contract [2] x [1] : tensor<?x4x4xf32>, tensor<?x4x4xf32>
  return %y, %s, %r : tensor<?x?x4xf32>, tensor<?x4x4xf32>, tensor<?x4x4xf32>
}
