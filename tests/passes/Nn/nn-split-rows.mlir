// RUN: tidegate-opt %s -nn-split-rows -canonicalize -split-input-file | FileCheck %s

// Row-wise work on matrices: one row space more.

// CHECK-LABEL: func.func @row_norms
// CHECK: nn.map rows 2(%arg0, %arg1) operand_rows [true, true] result_rows [true]
// CHECK: ^bb0(%[[W:.*]]: tensor<128xf32>, %[[N:.*]]: tensor<1xf32>):
// CHECK: nn.reduce_sum %{{.*}} [0] : tensor<128xf32>
// CHECK: nn.yield %{{.*}} : tensor<128xf32>
// CHECK-NOT: nn.map
func.func @row_norms(%w: tensor<?x64x128xf32>, %n: tensor<?x64x1xf32>) -> tensor<?x64x128xf32> {
  %r = nn.map rows 1 (%w, %n) operand_rows [true, true] result_rows [true] {
  ^bb0(%a: tensor<64x128xf32>, %b: tensor<64x1xf32>):
    %c = nn.constant 2.0 : tensor<64x128xf32>
    %s = nn.mul %a, %a : tensor<64x128xf32>, tensor<64x128xf32>
    %sum = nn.reduce_sum %s [1] : tensor<64x128xf32>
    %q = nn.mul %sum, %b : tensor<64x1xf32>, tensor<64x1xf32>
    %d = nn.div %c, %q : tensor<64x128xf32>, tensor<64x1xf32>
    nn.yield %d : tensor<64x128xf32>
  } : (tensor<?x64x128xf32>, tensor<?x64x1xf32>) -> tensor<?x64x128xf32>
  return %r : tensor<?x64x128xf32>
}

// -----

// The norm of a whole matrix is one number, which a map before gives to each row.

// CHECK-LABEL: func.func @matrix_norm
// CHECK: %[[NUMBER:.*]] = nn.map rows 1(%arg0) operand_rows [true] result_rows [true]
// CHECK: nn.reduce_sum %{{.*}} [0, 1]
// CHECK: : (tensor<?x64x128xf32>) -> tensor<?x64x1xf32>
// CHECK: nn.map rows 2(%arg0, %[[NUMBER]]) operand_rows [true, true] result_rows [true]
// CHECK: nn.div %{{.*}}, %{{.*}} : tensor<128xf32>, tensor<1xf32>
func.func @matrix_norm(%w: tensor<?x64x128xf32>) -> tensor<?x64x128xf32> {
  %r = nn.map rows 1 (%w) operand_rows [true] result_rows [true] {
  ^bb0(%a: tensor<64x128xf32>):
    %s = nn.mul %a, %a : tensor<64x128xf32>, tensor<64x128xf32>
    %sum = nn.reduce_sum %s [0, 1] : tensor<64x128xf32>
    %d = nn.div %a, %sum : tensor<64x128xf32>, tensor<1x1xf32>
    nn.yield %d : tensor<64x128xf32>
  } : (tensor<?x64x128xf32>) -> tensor<?x64x128xf32>
  return %r : tensor<?x64x128xf32>
}

// -----

// A weight has no rows: its own, head by head.

// CHECK-LABEL: func.func @weight
// CHECK: nn.map rows 2(%arg0) operand_rows [true] result_rows [true]
// CHECK: ^bb0(%{{.*}}: tensor<128xf32>):
// CHECK: : (tensor<4x64x128xf32>) -> tensor<4x64x1xf32>
func.func @weight(%w: tensor<4x64x128xf32>) -> tensor<4x64x1xf32> {
  %r = nn.map rows 0 (%w) operand_rows [false] result_rows [true] {
  ^bb0(%a: tensor<4x64x128xf32>):
    %s = nn.mul %a, %a : tensor<4x64x128xf32>, tensor<4x64x128xf32>
    %sum = nn.reduce_sum %s [2] : tensor<4x64x128xf32>
    nn.yield %sum : tensor<4x64x1xf32>
  } : (tensor<4x64x128xf32>) -> tensor<4x64x1xf32>
  return %r : tensor<4x64x1xf32>
}

// -----

// A list of a matrix' numbers is its rows, one after another.

// CHECK-LABEL: func.func @flattened
// CHECK: nn.map rows 2(%arg0) operand_rows [true] result_rows [true]
// CHECK: ^bb0(%{{.*}}: tensor<128xf32>):
// CHECK-NOT: nn.map
func.func @flattened(%w: tensor<?x64x128xf32>) -> tensor<?x64x128xf32> {
  %r = nn.map rows 1 (%w) operand_rows [true] result_rows [true] {
  ^bb0(%a: tensor<64x128xf32>):
    %l = nn.reshape %a : tensor<64x128xf32> -> tensor<8192xf32>
    %s = nn.add %l, %l : tensor<8192xf32>, tensor<8192xf32>
    %d = nn.reshape %s : tensor<8192xf32> -> tensor<64x128xf32>
    nn.yield %d : tensor<64x128xf32>
  } : (tensor<?x64x128xf32>) -> tensor<?x64x128xf32>
  return %r : tensor<?x64x128xf32>
}

// -----

// What comes from constants alone is computed again: here for each head, whose rows then differ.

// CHECK-LABEL: func.func @plus_identity
// CHECK: nn.map rows 1(%arg0) operand_rows [true] result_rows [true]
// CHECK: ^bb0(%{{.*}}: tensor<128x128xf32>):
// CHECK: nn.equal
// CHECK: nn.add %{{.*}}, %{{.*}} : tensor<128x128xf32>, tensor<128x128xf32>
// CHECK: : (tensor<4x128x128xf32>) -> tensor<4x128x128xf32>
func.func @plus_identity(%w: tensor<4x128x128xf32>) -> tensor<4x128x128xf32> {
  %r = nn.map rows 0 (%w) operand_rows [false] result_rows [true] {
  ^bb0(%a: tensor<4x128x128xf32>):
    %i = nn.iota : tensor<128xf32>
    %c = nn.reshape %i : tensor<128xf32> -> tensor<128x1xf32>
    %e = nn.equal %i, %c : tensor<128xf32>, tensor<128x1xf32>
    %s = nn.add %a, %e : tensor<4x128x128xf32>, tensor<128x128xf32>
    nn.yield %s : tensor<4x128x128xf32>
  } : (tensor<4x128x128xf32>) -> tensor<4x128x128xf32>
  return %r : tensor<4x128x128xf32>
}

// -----

// Rows that mix, and small matrices, stay.

// CHECK-LABEL: func.func @columns_and_small_stay
// CHECK-COUNT-2: nn.map rows 1
// CHECK-NOT: nn.map rows 2
func.func @columns_and_small_stay(%w: tensor<?x128x128xf32>, %u: tensor<?x4x4xf32>) -> (tensor<?x128x128xf32>, tensor<?x4x4xf32>) {
  %r = nn.map rows 1 (%w) operand_rows [true] result_rows [true] {
  ^bb0(%a: tensor<128x128xf32>):
    %t = nn.transpose %a [1, 0] : tensor<128x128xf32> -> tensor<128x128xf32>
    nn.yield %t : tensor<128x128xf32>
  } : (tensor<?x128x128xf32>) -> tensor<?x128x128xf32>
  %v = nn.map rows 1 (%u) operand_rows [true] result_rows [true] {
  ^bb0(%a: tensor<4x4xf32>):
    %t = nn.neg %a : tensor<4x4xf32>
    nn.yield %t : tensor<4x4xf32>
  } : (tensor<?x4x4xf32>) -> tensor<?x4x4xf32>
  return %r, %v : tensor<?x128x128xf32>, tensor<?x4x4xf32>
}
