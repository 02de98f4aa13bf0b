// RUN: tidegate-opt %s -build-loss | FileCheck %s
// RUN: not tidegate-opt %s -build-loss=model=embed 2>&1 | FileCheck %s --check-prefix=ERROR
// RUN: not tidegate-opt %s -build-loss=policy=all 2>&1 | FileCheck %s --check-prefix=POLICY

// ERROR: expects a model that maps ids of type tensor<?x?xi32> and weights to logits
// POLICY: expects the policy none, block, or a number of calls, but got 'all'

// What comes before the product that gives the logits. Only that is differentiated as a whole.
// CHECK-LABEL: func.func private @model.hidden(
// CHECK-SAME:    -> tensor<?x?x8xf32>
// CHECK-NOT:     nn.dot
// CHECK-LABEL: func.func private @model.hidden.fwd(
// CHECK-LABEL: func.func private @model.hidden.bwd(

// The product and the cross entropy of rows.
// CHECK-LABEL: func.func private @nll(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x?x8xf32>, %[[W:[^:]*]]: tensor<16x8xf32>, %{{[^:]*}}: tensor<?x?xi32>) -> tensor<?x?x1xf32>
// CHECK:         nn.dot %[[X]], %[[W]]

// The same, and its gradients by the rows and the weight, from one set of logits.
// CHECK-LABEL: func.func private @nll.grad(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x?x8xf32>, %[[W:[^:]*]]: tensor<16x8xf32>, %[[LABELS:[^:]*]]: tensor<?x?xi32>, %[[FACTOR:[^:]*]]: tensor<f32>)
// CHECK:         %[[Z:.*]] = nn.dot %[[X]], %[[W]]
// CHECK:         nn.reduce_max %[[Z]]
// CHECK:         %[[EACH:.*]] = nn.mul
// CHECK:         nn.place
// CHECK:         %[[DZ:.*]] = nn.add
// CHECK:         %[[DX:.*]] = nn.dot %[[DZ]], %[[W]] contract [2] x [0]
// CHECK:         %[[DW:.*]] = nn.dot %[[DZ]], %[[X]] contract [0, 1] x [0, 1]
// CHECK:         return %[[EACH]], %[[DX]], %[[DW]]

// Rows of logits are twice as wide as what they come from: two blocks.
// CHECK-LABEL: func.func @loss_and_grads(
// CHECK-SAME:    %[[IDS:[^:]*]]: tensor<?x?xi32> {nn.name = "ids"}, %[[L:[^:]*]]: tensor<?x?xi32> {nn.name = "labels"},
// CHECK-SAME:    %[[E:[^:]*]]: tensor<16x8xf32> {nn.init = "normal", nn.weight = "embed"},
// CHECK-SAME:    %[[W:[^:]*]]: tensor<16x8xf32> {nn.weight = "head"}) -> (tensor<f32>, tensor<16x8xf32>, tensor<16x8xf32>)
// CHECK:         %[[H:.*]] = call @model.hidden.fwd(%[[IDS]], %[[E]])
// CHECK:         %[[COUNT:.*]] = nn.maximum
// CHECK:         %[[FACTOR:.*]] = nn.div %{{.*}}, %[[COUNT]]
// CHECK:         %[[NLL:.*]]:3 = nn.blocks @nll.grad 2(%[[H]], %[[W]], %[[L]], %[[FACTOR]])
// CHECK:         %[[MEAN:.*]] = nn.div %{{.*}}, %[[COUNT]]
// CHECK:         %[[G:.*]] = call @model.hidden.bwd(%[[IDS]], %[[NLL]]#1)
// CHECK:         return %[[MEAN]], %[[G]], %[[NLL]]#2

// CHECK-LABEL: func.func @loss(
// CHECK-SAME:    {nn.name = "labels"}
// CHECK-SAME:    {nn.weight = "head"}) -> (tensor<f32>, tensor<f32>)
// CHECK:         %[[H:.*]] = call @model.hidden(
// CHECK:         nn.blocks @nll 2(%[[H]],
func.func private @embed(%table: tensor<16x8xf32>, %ids: tensor<?x?xi32>) -> tensor<?x?x8xf32> {
  %x = nn.lookup %table, %ids : tensor<16x8xf32>, tensor<?x?xi32> -> tensor<?x?x8xf32>
  return %x : tensor<?x?x8xf32>
}
func.func @model(%ids: tensor<?x?xi32> {nn.name = "ids"}, %e: tensor<16x8xf32> {nn.weight = "embed", nn.init = "normal"},
                 %w: tensor<16x8xf32> {nn.weight = "head"}) -> tensor<?x?x16xf32> {
  %x = nn.lookup %e, %ids : tensor<16x8xf32>, tensor<?x?xi32> -> tensor<?x?x8xf32>
  %z = nn.dot %x, %w contract [2] x [1] : tensor<?x?x8xf32>, tensor<16x8xf32>
  return %z : tensor<?x?x16xf32>
}
