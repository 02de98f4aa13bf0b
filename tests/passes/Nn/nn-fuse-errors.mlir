// RUN: tidegate-opt %s --nn-fuse --split-input-file --verify-diagnostics

func.func @sum_over_time_alone(%x: tensor<?x?x8xf32>) -> tensor<?x1x8xf32> {
  // expected-error @below {{expects a sum over all 2 row dimensions of 'tensor<?x?x8xf32>' or over none, but got dimensions [1]}}
  %s = nn.reduce_sum %x [1] : tensor<?x?x8xf32>
  return %s : tensor<?x1x8xf32>
}

// -----

func.func @maximum_over_rows(%x: tensor<?x8xf32>) -> tensor<1x8xf32> {
  // expected-error @below {{expects a maximum inside each row, but dimensions [0] of 'tensor<?x8xf32>' include row dimensions}}
  %s = nn.reduce_max %x [0] : tensor<?x8xf32>
  return %s : tensor<1x8xf32>
}

// -----

func.func @mixed_row_spaces(%x: tensor<?x?x8xf32>, %b: tensor<?x1x8xf32>) -> tensor<?x?x8xf32> {
  // expected-error @below {{expects operands with the 2 row dimensions of the result 'tensor<?x?x8xf32>' or with none, but got 'tensor<?x1x8xf32>'}}
  %s = nn.add %x, %b : tensor<?x?x8xf32>, tensor<?x1x8xf32>
  return %s : tensor<?x?x8xf32>
}

// -----

func.func @transposed_rows(%x: tensor<?x?x8xf32>) -> tensor<?x?x8xf32> {
  // expected-error @below {{expects row dimensions to stay in place, but the permutation is [1, 0, 2]}}
  %s = nn.transpose %x [1, 0, 2] : tensor<?x?x8xf32> -> tensor<?x?x8xf32>
  return %s : tensor<?x?x8xf32>
}
