// RUN: tidegate-opt %s -split-input-file -build-loss | FileCheck %s

// What runs in blocks of rows: everything as wide as the logits, from the last product on, and what follows that. A gate
// of one number per row and a weight that is computed from others are computed before, for all rows. Of a product with
// a bias and a soft cap, the bias has a gradient that is a sum.

// CHECK-LABEL: func.func private @model.hidden(
// CHECK-NOT:     nn.tanh
// CHECK:         return %[[X:.*]], %[[W:.*]], %[[GATE:.*]] : tensor<?x?x8xf32>, tensor<64x8xf32>, tensor<?x?x1xf32>
// CHECK-LABEL: func.func private @nll(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x?x8xf32>, %[[W:[^:]*]]: tensor<64x8xf32>, %[[B:[^:]*]]: tensor<64xf32>, %[[GATE:[^:]*]]: tensor<?x?x1xf32>, %{{[^:]*}}: tensor<?x?xi32>)
// CHECK:         %[[Z:.*]] = nn.dot %[[X]], %[[W]]
// CHECK:         %[[Y:.*]] = nn.add %[[Z]], %[[B]]
// CHECK:         %[[M:.*]] = nn.mul %[[Y]], %[[GATE]]
// CHECK:         %[[LOGITS:.*]] = nn.tanh %[[M]]
// CHECK:         nn.reduce_max %[[LOGITS]]
// CHECK-LABEL: func.func @loss_and_grads(
// CHECK:         nn.blocks @nll.grad 8(
// CHECK-SAME:    -> (tensor<?x?x1xf32>, tensor<?x?x8xf32>, tensor<64x8xf32>, tensor<64xf32>, tensor<?x?x1xf32>)
func.func @model(%ids: tensor<?x?xi32>, %e: tensor<64x8xf32>, %w: tensor<64x8xf32>, %b: tensor<64xf32>, %g: tensor<1x8xf32>)
    -> tensor<?x?x64xf32> {
  %two = nn.constant 2.0 : tensor<f32>
  %x = nn.lookup %e, %ids : tensor<64x8xf32>, tensor<?x?xi32> -> tensor<?x?x8xf32>
  %scaled = nn.mul %w, %two : tensor<64x8xf32>, tensor<f32>
  %z = nn.dot %x, %scaled contract [2] x [1] : tensor<?x?x8xf32>, tensor<64x8xf32>
  %y = nn.add %z, %b : tensor<?x?x64xf32>, tensor<64xf32>
  %p = nn.dot %x, %g contract [2] x [1] : tensor<?x?x8xf32>, tensor<1x8xf32>
  %gate = nn.sigmoid %p : tensor<?x?x1xf32>
  %m = nn.mul %y, %gate : tensor<?x?x64xf32>, tensor<?x?x1xf32>
  %logits = nn.tanh %m : tensor<?x?x64xf32>
  return %logits : tensor<?x?x64xf32>
}

// -----

// Numbers of a row that depend on its logits are in the head too.
// CHECK-LABEL: func.func private @model.hidden(
// CHECK:         return %{{.*}} : tensor<?x?x8xf32>
// CHECK-LABEL: func.func private @nll(
// CHECK:         nn.dot
// CHECK:         nn.reduce_max
// CHECK:         nn.sub
func.func @model(%ids: tensor<?x?xi32>, %e: tensor<64x8xf32>) -> tensor<?x?x64xf32> {
  %x = nn.lookup %e, %ids : tensor<64x8xf32>, tensor<?x?xi32> -> tensor<?x?x8xf32>
  %z = nn.dot %x, %e contract [2] x [1] : tensor<?x?x8xf32>, tensor<64x8xf32>
  %max = nn.reduce_max %z [2] : tensor<?x?x64xf32>
  %logits = nn.sub %z, %max : tensor<?x?x64xf32>, tensor<?x?x1xf32>
  return %logits : tensor<?x?x64xf32>
}

// -----

// Logits that no product makes are whole anyway: a plain call. So are those of few ids.
// CHECK-LABEL: func.func private @nll(
// CHECK-SAME:    tensor<?x?x64xf32>
// CHECK-LABEL: func.func @loss_and_grads(
// CHECK-NOT:     nn.blocks
// CHECK:         call @nll.grad(
func.func @model(%ids: tensor<?x?xi32>, %e: tensor<64x64xf32>) -> tensor<?x?x64xf32> {
  %logits = nn.lookup %e, %ids : tensor<64x64xf32>, tensor<?x?xi32> -> tensor<?x?x64xf32>
  return %logits : tensor<?x?x64xf32>
}

// -----

// CHECK-LABEL: func.func @loss_and_grads(
// CHECK-NOT:     nn.blocks
// CHECK:         call @nll.grad(
func.func @model(%ids: tensor<?x?xi32>, %e: tensor<8x16xf32>) -> tensor<?x?x8xf32> {
  %x = nn.lookup %e, %ids : tensor<8x16xf32>, tensor<?x?xi32> -> tensor<?x?x16xf32>
  %logits = nn.dot %x, %e contract [2] x [1] : tensor<?x?x16xf32>, tensor<8x16xf32>
  return %logits : tensor<?x?x8xf32>
}
