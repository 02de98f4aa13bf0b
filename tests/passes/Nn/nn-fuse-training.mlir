// RUN: tidegate-opt %s --build-loss --canonicalize --cse --nn-fuse | FileCheck %s
// RUN: tidegate-opt %s --build-loss --canonicalize --cse --nn-fuse \
// RUN:   | grep -oE '^    %[0-9:]+ = [a-z_.]+' | grep -oE '[a-z_.]+$' | sort -u | FileCheck %s --check-prefix=OUTSIDE
//
// A norm and a gated product with their derived backward. These are all the ops
// that stay outside maps:
// OUTSIDE: {{^}}call{{$}}
// OUTSIDE-NEXT: nn.blocks
// OUTSIDE-NEXT: nn.dot
// OUTSIDE-NEXT: nn.lookup
// OUTSIDE-NEXT: nn.lookup_grad
// OUTSIDE-NEXT: nn.map
// OUTSIDE-NEXT: nn.reshape
// OUTSIDE-NOT: nn

// The forward: norm, gate.
// CHECK-LABEL: func.func @model(
// CHECK: nn.lookup
// CHECK: nn.map rows 2
// CHECK-COUNT-2: nn.dot
// CHECK: nn.map rows 2
// CHECK: nn.dot
// CHECK-NOT: nn.map
// CHECK-LABEL: func.func private @model.hidden(

// The backward. The gate's map gives both cotangents in one reading; the last map
// gives the cotangent of the rows and the norm's weight gradient, a sum.
// CHECK-LABEL: func.func private @model.hidden.bwd(
// CHECK-SAME: %[[DH:[a-z0-9]*]]: tensor<?x?x48xf32>) ->
// CHECK: %[[GATE:.*]]:2 = nn.map rows 2({{.*}}%[[DH]]{{.*}}) {{.*}} result_rows [true, true]
// CHECK: nn.sigmoid
// CHECK: nn.dot %[[GATE]]#0
// CHECK: nn.map rows 2
// CHECK: nn.rsqrt
// CHECK: result_rows [false, true]
// CHECK: nn.lookup_grad
// CHECK: return

// In a block of rows one map gives losses and gradients of logits.
// CHECK-LABEL: func.func private @nll.grad(
// CHECK: nn.dot
// CHECK: nn.map rows 2
// CHECK-NOT: nn.map
// CHECK-COUNT-2: nn.dot
// CHECK: return
func.func @model(%ids: tensor<?x?xi32>, %table: tensor<64x32xf32> {nn.weight = "table"},
                 %norm: tensor<32xf32> {nn.weight = "norm"}, %gate: tensor<48x32xf32> {nn.weight = "gate"},
                 %up: tensor<48x32xf32> {nn.weight = "up"}, %down: tensor<64x48xf32> {nn.weight = "down"})
    -> tensor<?x?x64xf32> {
  %width = nn.constant 32.0 : tensor<f32>
  %x = nn.lookup %table, %ids : tensor<64x32xf32>, tensor<?x?xi32> -> tensor<?x?x32xf32>
  %sq = nn.mul %x, %x : tensor<?x?x32xf32>, tensor<?x?x32xf32>
  %sum = nn.reduce_sum %sq [2] : tensor<?x?x32xf32>
  %mean = nn.div %sum, %width : tensor<?x?x1xf32>, tensor<f32>
  %r = nn.rsqrt %mean : tensor<?x?x1xf32>
  %n = nn.mul %x, %r : tensor<?x?x32xf32>, tensor<?x?x1xf32>
  %h = nn.mul %n, %norm : tensor<?x?x32xf32>, tensor<32xf32>
  %g = nn.dot %h, %gate contract [2] x [1] : tensor<?x?x32xf32>, tensor<48x32xf32>
  %u = nn.dot %h, %up contract [2] x [1] : tensor<?x?x32xf32>, tensor<48x32xf32>
  %s = nn.sigmoid %g : tensor<?x?x48xf32>
  %silu = nn.mul %g, %s : tensor<?x?x48xf32>, tensor<?x?x48xf32>
  %a = nn.mul %silu, %u : tensor<?x?x48xf32>, tensor<?x?x48xf32>
  %y = nn.dot %a, %down contract [2] x [1] : tensor<?x?x48xf32>, tensor<64x48xf32>
  return %y : tensor<?x?x64xf32>
}
