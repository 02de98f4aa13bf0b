// RUN: tidegate-opt %s -build-loss | FileCheck %s
// RUN: not tidegate-opt %s -build-loss=model=embed 2>&1 | FileCheck %s --check-prefix=ERROR
// RUN: not tidegate-opt %s -build-loss=policy=all 2>&1 | FileCheck %s --check-prefix=POLICY

// ERROR: expects a model that maps ids of type tensor<?x?xi32> and weights to logits
// POLICY: expects the policy none, block, or a number of calls, but got 'all'

// CHECK-LABEL: func.func private @model.fwd(
// CHECK-LABEL: func.func private @model.bwd(

// The backward computes the probabilities again from the logits.
// CHECK-LABEL: func.func private @nll.fwd(
// CHECK:         return %{{[^,]*}}, %{{[^,]*}} : tensor<f32>, tensor<f32>
// CHECK-LABEL: func.func private @nll.bwd(
// CHECK-SAME:    %[[Z:[^:]*]]: tensor<?x?x16xf32>, %[[LABELS:[^:]*]]: tensor<?x?xi32>, %[[D:[^:]*]]: tensor<f32>, %{{[^:]*}}: tensor<f32>)
// CHECK:         nn.reduce_max %[[Z]]
// CHECK:         nn.exp
// CHECK:         nn.place

// CHECK-LABEL: func.func @loss_and_grads(
// CHECK-SAME:    %[[IDS:[^:]*]]: tensor<?x?xi32> {nn.name = "ids"}, %[[L:[^:]*]]: tensor<?x?xi32> {nn.name = "labels"},
// CHECK-SAME:    %[[E:[^:]*]]: tensor<16x8xf32> {nn.init = "normal", nn.weight = "embed"},
// CHECK-SAME:    %[[W:[^:]*]]: tensor<16x8xf32> {nn.weight = "head"}) -> (tensor<f32>, tensor<16x8xf32>, tensor<16x8xf32>)
// CHECK:         %[[F:.*]]:2 = call @model.fwd(%[[IDS]], %[[E]], %[[W]])
// CHECK:         %[[NLL:.*]]:2 = call @nll.fwd(%[[F]]#0, %[[L]])
// CHECK:         %[[COUNT:.*]] = nn.maximum
// CHECK:         %[[MEAN:.*]] = nn.div %[[NLL]]#0, %[[COUNT]]
// CHECK:         %[[DZ:.*]] = call @nll.bwd(%[[F]]#0, %[[L]],
// CHECK:         %[[G:.*]]:2 = call @model.bwd(%[[IDS]], %[[W]], %[[F]]#1, %[[DZ]])
// CHECK:         return %[[MEAN]], %[[G]]#0, %[[G]]#1

// CHECK-LABEL: func.func @loss(
// CHECK-SAME:    {nn.name = "labels"}
// CHECK-SAME:    {nn.weight = "head"}) -> (tensor<f32>, tensor<f32>)
// CHECK:         %[[LOGITS:.*]] = call @model(
// CHECK:         call @nll(%[[LOGITS]],
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
