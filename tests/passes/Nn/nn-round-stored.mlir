// RUN: tidegate-opt %s -nn-storage -nn-round-stored | FileCheck %s

// What bf16 keeps in bfloat16 is rounded to its 8 digits, once, where it is made: rows
// of 64, and weights for their products. Narrow rows and what callers get are not. The
// constant is 2^45 + 1.

// CHECK-LABEL: func.func @entry
// CHECK-SAME: (%[[X:.*]]: tensor<?x?x64xf64>, %[[W:[^:]*]]: tensor<64x64xf64>,
// CHECK: %[[SUM:.*]] = nn.map rows 2(%[[X]])
// CHECK: %[[ROW:.*]] = nn.map rows 2(%[[SUM]])
// CHECK-NEXT: ^bb0(%[[V:.*]]: tensor<64xf64>):
// CHECK-NEXT: %[[C:.*]] = nn.constant 0x42C0000000000080
// CHECK-NEXT: %[[CV:.*]] = nn.mul %[[V]], %[[C]]
// CHECK-NEXT: %[[LOW:.*]] = nn.sub %[[CV]], %[[V]]
// CHECK-NEXT: %[[HIGH:.*]] = nn.sub %[[CV]], %[[LOW]]
// CHECK-NEXT: nn.yield %[[HIGH]]
// CHECK: %[[CAST:.*]] = nn.map rows 1(%[[W]])
// CHECK: %[[HELD:.*]] = nn.map rows 0(%[[CAST]])
// CHECK: nn.constant 0x42C0000000000080
// CHECK: %[[Y:.*]] = nn.dot %[[ROW]], %[[HELD]]
// CHECK: nn.constant 0x42C0000000000080
// CHECK-NOT: nn.map
// CHECK: %[[N:.*]] = nn.dot %[[ROW]]
// CHECK-NOT: nn.map
// CHECK-NOT: nn.storage
// CHECK: return %[[Y]], %[[N]]
func.func @entry(%x: tensor<?x?x64xf64>, %w: tensor<64x64xf64>, %narrow: tensor<8x64xf64>)
    -> (tensor<?x?x64xf64>, tensor<?x?x8xf64>) {
  %sum = nn.map rows 2 (%x) operand_rows [true] result_rows [true] {
  ^bb0(%r: tensor<64xf64>):
    %twice = nn.add %r, %r : tensor<64xf64>, tensor<64xf64>
    nn.yield %twice : tensor<64xf64>
  } : (tensor<?x?x64xf64>) -> tensor<?x?x64xf64>
  %y = nn.dot %sum, %w contract [2] x [1] : tensor<?x?x64xf64>, tensor<64x64xf64>
  %n = nn.dot %sum, %narrow contract [2] x [1] : tensor<?x?x64xf64>, tensor<8x64xf64>
  return %y, %n : tensor<?x?x64xf64>, tensor<?x?x8xf64>
}
