// RUN: tidegate-opt %s --autodiff=functions=f | FileCheck %s

// The forward keeps the result and the logarithms of the sums, never scores; the
// backward makes the positions again, and of the query what the product gave.

// CHECK-LABEL: func.func private @f.fwd
// CHECK:         %[[D:.*]] = nn.dot
// CHECK:         %[[O:.*]], %[[L:.*]], %{{.*}}, %{{.*}} = nn.attention
// CHECK:         return %[[O]], %[[D]], %[[L]] : tensor<?x?x2x4xf32>, tensor<?x?x8xf32>, tensor<?x?x2xf32>
// CHECK-LABEL: func.func private @f.bwd
// CHECK-NOT:     nn.attention %
// CHECK:         %[[P:.*]], %{{.*}} = nn.positions
// CHECK-NOT:     nn.attention %
// CHECK:         %[[DQ:.*]], %[[DK:.*]], %[[DV:.*]], %{{.*}}, %{{.*}} = nn.attention_grad
// CHECK-SAME:      window 16 :
func.func @f(%x: tensor<?x?x8xf32>, %w: tensor<8x8xf32>) -> tensor<?x?x2x4xf32> {
  %d = nn.dot %x, %w contract [2] x [1] : tensor<?x?x8xf32>, tensor<8x8xf32>
  %h = nn.reshape %d : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %p, %n = nn.positions %h : tensor<?x?x2x4xf32>
  %f = nn.to_float %p : tensor<?x?xi32> -> tensor<?x?xf32>
  %r = nn.reshape %f : tensor<?x?xf32> -> tensor<?x?x1x1xf32>
  %q = nn.mul %h, %r : tensor<?x?x2x4xf32>, tensor<?x?x1x1xf32>
  %o, %l, %nk, %nv = nn.attention %q, %h, %h window 16 : tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>
  return %o : tensor<?x?x2x4xf32>
}
