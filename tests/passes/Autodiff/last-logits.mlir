// RUN: tidegate-opt %s -split-input-file -last-logits | FileCheck %s

// The product and the soft cap behind it are of the last row.
// CHECK-LABEL: func.func @model(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x?x4xf32>, %[[W:[^:]*]]: tensor<9x4xf32>)
// CHECK-NEXT:    %[[H:.*]] = nn.tanh %[[X]]
// CHECK-NEXT:    %[[LAST:.*]] = nn.last_rows %[[H]] : tensor<?x?x4xf32> -> tensor<?x1x4xf32>
// CHECK-NEXT:    %[[ROW:.*]] = nn.cast_rows %[[LAST]] : tensor<?x1x4xf32> -> tensor<?x?x4xf32>
// CHECK-NEXT:    %[[Z:.*]] = nn.dot %[[ROW]], %[[W]]
// CHECK-NEXT:    %[[Y:.*]] = nn.tanh %[[Z]]
// CHECK-NEXT:    return %[[Y]] : tensor<?x?x9xf32>
func.func @model(%x: tensor<?x?x4xf32>, %w: tensor<9x4xf32>) -> tensor<?x?x9xf32> {
  %h = nn.tanh %x : tensor<?x?x4xf32>
  %z = nn.dot %h, %w contract [2] x [1] : tensor<?x?x4xf32>, tensor<9x4xf32>
  %y = nn.tanh %z : tensor<?x?x9xf32>
  return %y : tensor<?x?x9xf32>
}

// -----

// Logits that come from elsewhere are cut themselves.
// CHECK-LABEL: func.func @model(
// CHECK:         %[[Z:.*]] = nn.lookup
// CHECK-NEXT:    %[[LAST:.*]] = nn.last_rows %[[Z]] : tensor<?x?x9xf32> -> tensor<?x1x9xf32>
// CHECK-NEXT:    %[[ROW:.*]] = nn.cast_rows %[[LAST]]
// CHECK-NEXT:    return %[[ROW]]
func.func @model(%ids: tensor<?x?xi32>, %table: tensor<9x9xf32>) -> tensor<?x?x9xf32> {
  %z = nn.lookup %table, %ids : tensor<9x9xf32>, tensor<?x?xi32> -> tensor<?x?x9xf32>
  return %z : tensor<?x?x9xf32>
}
