// RUN: tidegate-opt %s -split-input-file -verify-diagnostics

func.func @unary_c1(%x: tensor<8xf32>) {
  // expected-error @below {{failed to infer returned types}}
  // expected-error @below {{inferred type(s) 'tensor<8xf32>' are incompatible with return type(s) of operation 'tensor<4xf32>'}}
  %0 = "nn.neg"(%x) : (tensor<8xf32>) -> tensor<4xf32>
  return
}

// -----

func.func @binary_c1(%x: tensor<?x?x8xf32>, %w: tensor<4xf32>) {
  // expected-error @below {{expects shapes that agree when aligned at the end, but got tensor<?x?x8xf32> and tensor<4xf32>}}
  %0 = nn.add %x, %w : tensor<?x?x8xf32>, tensor<4xf32>
  return
}

// -----

func.func @binary_c1_run_time_and_fixed_size(%x: tensor<?x8xf32>, %w: tensor<3x8xf32>) {
  // expected-error @below {{expects shapes that agree when aligned at the end, but got tensor<?x8xf32> and tensor<3x8xf32>}}
  %0 = nn.mul %x, %w : tensor<?x8xf32>, tensor<3x8xf32>
  return
}

// -----

func.func @binary_c2(%x: tensor<8xf32>, %w: tensor<8xf64>) {
  // expected-error @below {{expects operands of one element type, but got 'f32' and 'f64'}}
  %0 = nn.add %x, %w : tensor<8xf32>, tensor<8xf64>
  return
}

// -----

func.func @select_c1(%c: tensor<2xf32>, %x: tensor<8xf32>) {
  // expected-error @below {{expects shapes that agree when aligned at the end, but got tensor<2xf32> and tensor<8xf32>}}
  %0 = nn.select %c, %x, %x : tensor<2xf32>, tensor<8xf32>, tensor<8xf32>
  return
}

// -----

func.func @angle_c3(%x: tensor<4x1xf32>, %i: tensor<8xf32>) {
  // expected-error @+1 {{expects a base above 0 and finite, but got -2}}
  %0 = nn.angle %x, %i base -2.0 : tensor<4x1xf32>, tensor<8xf32>
  return
}

// -----

func.func @constant_c1() {
  // expected-error @below {{expects a static result shape, but got 'tensor<?x2xf32>'}}
  %0 = nn.constant 1.0 : tensor<?x2xf32>
  return
}

// -----

func.func @broadcast_like_c1(%x: tensor<3xf32>, %l: tensor<?x8xf32>) {
  // expected-error @below {{operand of type 'tensor<3xf32>' does not broadcast to 'tensor<?x8xf32>'}}
  %0 = nn.broadcast_like %x, %l : tensor<3xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

func.func @broadcast_like_c1_result(%x: tensor<8xf32>, %l: tensor<?x8xf32>) {
  // expected-error @below {{expects a result with the shape of 'tensor<?x8xf32>', but got 'tensor<4x8xf32>'}}
  %0 = nn.broadcast_like %x, %l : tensor<8xf32>, tensor<?x8xf32> -> tensor<4x8xf32>
  return
}

// -----

func.func @reshape_c1(%x: tensor<?x?x8xf32>) {
  // expected-error @below {{expects the same leading ? dimensions and no other, but got 'tensor<?x?x8xf32>' and 'tensor<?x8xf32>'}}
  %0 = nn.reshape %x : tensor<?x?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

func.func @reshape_c2(%x: tensor<?x8xf32>) {
  // expected-error @below {{cannot regroup 8 elements as 9}}
  %0 = nn.reshape %x : tensor<?x8xf32> -> tensor<?x3x3xf32>
  return
}

// -----

func.func @transpose_c1(%x: tensor<2x3xf32>) {
  // expected-error @below {{expects a permutation of 2 dimensions, but got [0, 0]}}
  %0 = nn.transpose %x [0, 0] : tensor<2x3xf32> -> tensor<2x2xf32>
  return
}

// -----

func.func @transpose_c2(%x: tensor<2x3xf32>) {
  // expected-error @below {{dimension 0 of the result is 2, but the operand has 3}}
  %0 = nn.transpose %x [1, 0] : tensor<2x3xf32> -> tensor<2x3xf32>
  return
}

// -----

func.func @slice_c1(%x: tensor<?x4xf32>) {
  // expected-error @below {{expects a static dimension of both types, but got 0}}
  %0 = nn.slice %x dim 0 from 0 step 1 : tensor<?x4xf32> -> tensor<2x4xf32>
  return
}

// -----

func.func @slice_c1_other_dimension(%x: tensor<8x4xf32>) {
  // expected-error @below {{only dimension 0 may change, but dimension 1 does}}
  %0 = nn.slice %x dim 0 from 0 step 1 : tensor<8x4xf32> -> tensor<2x3xf32>
  return
}

// -----

func.func @slice_c2(%x: tensor<8x4xf32>) {
  // expected-error @below {{range of 3 from 4 step 2 does not lie in 0..7}}
  %0 = nn.slice %x dim 0 from 4 step 2 : tensor<8x4xf32> -> tensor<3x4xf32>
  return
}

// -----

func.func @pad_c1(%x: tensor<2x4xf32>) {
  // expected-error @below {{expects a static dimension of both types, but got 2}}
  %0 = nn.pad %x dim 2 from 0 step 1 : tensor<2x4xf32> -> tensor<2x4xf32>
  return
}

// -----

func.func @pad_c2(%x: tensor<3x4xf32>) {
  // expected-error @below {{range of 3 from 2 step 1 does not lie in 0..3}}
  %0 = nn.pad %x dim 0 from 2 step 1 : tensor<3x4xf32> -> tensor<4x4xf32>
  return
}

// -----

func.func @reduce_c1(%x: tensor<2x3xf32>) {
  // expected-error @below {{expects ascending dimensions, but got [1, 0]}}
  %0 = nn.reduce_sum %x [1, 0] : tensor<2x3xf32>
  return
}

// -----

func.func @reduce_c1_range(%x: tensor<2x3xf32>) {
  // expected-error @below {{expects dimensions in 0..1, but got 2}}
  %0 = nn.reduce_max %x [2] : tensor<2x3xf32>
  return
}

// -----

func.func @dot_c1(%x: tensor<?x8xf32>, %w: tensor<16x4xf32>) {
  // expected-error @below {{paired contracted dimensions differ: 8 (dimension 1 of the left side) and 4 (dimension 1 of the right)}}
  %0 = nn.dot %x, %w contract [1] x [1] : tensor<?x8xf32>, tensor<16x4xf32>
  return
}

// -----

func.func @dot_c1_counts(%x: tensor<2x8xf32>, %w: tensor<2x8xf32>) {
  // expected-error @below {{expects as many batch dimensions on both sides, but got 1 and 0}}
  %0 = nn.dot %x, %w batch [0] x [] contract [1] x [1] : tensor<2x8xf32>, tensor<2x8xf32>
  return
}

// -----

func.func @dot_c1_range(%x: tensor<2x8xf32>, %w: tensor<2x8xf32>) {
  // expected-error @below {{contracted dimensions 2 x 1 are out of range}}
  %0 = nn.dot %x, %w contract [2] x [1] : tensor<2x8xf32>, tensor<2x8xf32>
  return
}

// -----

func.func @dot_c2(%x: tensor<2x8xf32>, %w: tensor<2x8xf32>) {
  // expected-error @below {{names a dimension twice}}
  %0 = nn.dot %x, %w batch [0] x [0] contract [0] x [0] : tensor<2x8xf32>, tensor<2x8xf32>
  return
}

// -----

func.func @dot_c3(%x: tensor<2x8xf32>, %w: tensor<2x8xf64>) {
  // expected-error @below {{expects one element type, but got 'f32' and 'f64'}}
  %0 = nn.dot %x, %w contract [1] x [1] : tensor<2x8xf32>, tensor<2x8xf64>
  return
}

// -----

func.func @lookup_c1(%t: tensor<8xf32>, %ids: tensor<?xi32>) {
  // expected-error @below {{expects a table of rank 2, but got 'tensor<8xf32>'}}
  %0 = nn.lookup %t, %ids : tensor<8xf32>, tensor<?xi32> -> tensor<?x8xf32>
  return
}

// -----

func.func @lookup_c2(%t: tensor<100x8xf32>, %ids: tensor<?xi32>) {
  // expected-error @below {{expects the shape of the ids 'tensor<?xi32>' and a last dimension of 8, but got 'tensor<?x4xf32>'}}
  %0 = nn.lookup %t, %ids : tensor<100x8xf32>, tensor<?xi32> -> tensor<?x4xf32>
  return
}

// -----

func.func @lookup_grad_c1(%x: tensor<?x8xf32>, %ids: tensor<?xi32>) {
  // expected-error @below {{expects a result of rank 2, but got 'tensor<2x4x8xf32>'}}
  %0 = nn.lookup_grad %x, %ids : tensor<?x8xf32>, tensor<?xi32> -> tensor<2x4x8xf32>
  return
}

// -----

func.func @lookup_grad_c2(%x: tensor<?x8xf32>, %ids: tensor<?xi32>) {
  // expected-error @below {{expects the shape of the ids 'tensor<?xi32>' and a last dimension of 4, but got 'tensor<?x8xf32>'}}
  %0 = nn.lookup_grad %x, %ids : tensor<?x8xf32>, tensor<?xi32> -> tensor<100x4xf32>
  return
}

// -----

func.func @pick_c1(%x: tensor<?x2x8xf32>, %ids: tensor<?xi32>) {
  // expected-error @below {{expects the shape of the ids 'tensor<?xi32>' and a last dimension of 8, but got 'tensor<?x2x8xf32>'}}
  %0 = nn.pick %x, %ids : tensor<?x2x8xf32>, tensor<?xi32> -> tensor<?x1xf32>
  return
}

// -----

func.func @pick_c1_result(%x: tensor<?x8xf32>, %ids: tensor<?xi32>) {
  // expected-error @below {{expects the shape of the ids 'tensor<?xi32>' and a last dimension of 1, but got 'tensor<?xf32>'}}
  %0 = nn.pick %x, %ids : tensor<?x8xf32>, tensor<?xi32> -> tensor<?xf32>
  return
}

// -----

func.func @place_c1(%x: tensor<?x8xf32>, %ids: tensor<?xi32>) {
  // expected-error @below {{expects the shape of the ids 'tensor<?xi32>' and a last dimension of 1, but got 'tensor<?x8xf32>'}}
  %0 = nn.place %x, %ids : tensor<?x8xf32>, tensor<?xi32> -> tensor<?x8xf32>
  return
}

// -----

func.func @place_c2(%x: tensor<?x1xf32>, %ids: tensor<?xi32>) {
  // expected-error @below {{expects a result with the shape of the ids 'tensor<?xi32>' and one more dimension, but got 'tensor<?x2x8xf32>'}}
  %0 = nn.place %x, %ids : tensor<?x1xf32>, tensor<?xi32> -> tensor<?x2x8xf32>
  return
}

// -----

func.func @is_index_c1(%ids: tensor<?xi32>) {
  // expected-error @below {{expects the shape of the ids 'tensor<?xi32>' and a last dimension of 1, but got 'tensor<?x2xf32>'}}
  %0 = nn.is_index %ids : tensor<?xi32> -> tensor<?x2xf32>
  return
}

// -----

func.func @short_conv_c1(%x: tensor<?x8xf32>, %w: tensor<8x4xf32>) {
  // expected-error @below {{expects B x T x C rows, but got tensor<?x8xf32>}}
  %0, %1 = nn.short_conv %x, %w : tensor<?x8xf32>, tensor<8x4xf32>
  return
}

// -----

func.func @short_conv_c2(%x: tensor<?x?x8xf32>, %w: tensor<6x4xf32>) {
  // expected-error @below {{expects a C x W weight with W of at least 2 for rows of type tensor<?x?x8xf32>, but got tensor<6x4xf32>}}
  %0, %1 = nn.short_conv %x, %w : tensor<?x?x8xf32>, tensor<6x4xf32>
  return
}

// -----

func.func @short_conv_c2_width(%x: tensor<?x?x8xf32>, %w: tensor<8x1xf32>) {
  // expected-error @below {{expects a C x W weight with W of at least 2 for rows of type tensor<?x?x8xf32>, but got tensor<8x1xf32>}}
  %0, %1 = nn.short_conv %x, %w : tensor<?x?x8xf32>, tensor<8x1xf32>
  return
}

// -----

func.func @short_conv_c3(%x: tensor<?x?x8xf32>, %w: tensor<8x4xf32>, %p: tensor<?x4x8xf32>) {
  // expected-error @below {{expects tensor<?x3x8xf32> for the W-1 rows beside the sequence, but got tensor<?x4x8xf32>}}
  %0, %1 = nn.short_conv %x, %w after %p : tensor<?x?x8xf32>, tensor<8x4xf32>, tensor<?x4x8xf32>
  return
}

// -----

func.func @short_conv_c6(%x: tensor<?x?x8xf32>, %w: tensor<8x4xf32>, %p: tensor<?xi32>) {
  // expected-error @below {{expects B x T positions for rows of type tensor<?x?x8xf32>, but got tensor<?xi32>}}
  %0, %1 = nn.short_conv %x, %w at(%p : tensor<?xi32>) : tensor<?x?x8xf32>, tensor<8x4xf32>
  return
}

// -----

func.func @short_conv_c4(%x: tensor<?x?x8xf32>, %w: tensor<8x4xf64>) {
  // expected-error @below {{expects operands of one element type, but got 'f32' and 'f64'}}
  %0, %1 = nn.short_conv %x, %w : tensor<?x?x8xf32>, tensor<8x4xf64>
  return
}

// -----

func.func @short_conv_input_grad_c3(%x: tensor<?x?x8xf32>, %w: tensor<8x4xf32>, %p: tensor<?x3x8xf64>) {
  // expected-error @below {{expects tensor<?x3x8xf32> for the W-1 rows beside the sequence, but got tensor<?x3x8xf64>}}
  %0, %1 = nn.short_conv_input_grad %x, %w before %p : tensor<?x?x8xf32>, tensor<8x4xf32>, tensor<?x3x8xf64>
  return
}

// -----

func.func @short_conv_weight_grad_c2(%x: tensor<?x?x8xf32>) {
  // expected-error @below {{expects a C x W weight with W of at least 2 for rows of type tensor<?x?x8xf32>, but got tensor<4x8xf32>}}
  %0 = nn.short_conv_weight_grad %x, %x : tensor<?x?x8xf32>, tensor<?x?x8xf32> -> tensor<4x8xf32>
  return
}

// -----

func.func @short_conv_weight_grad_c5(%x: tensor<?x?x8xf32>, %dy: tensor<?x?x6xf32>) {
  // expected-error @below {{expects a cotangent of the input's type 'tensor<?x?x8xf32>', but got 'tensor<?x?x6xf32>'}}
  %0 = nn.short_conv_weight_grad %x, %dy : tensor<?x?x8xf32>, tensor<?x?x6xf32> -> tensor<8x4xf32>
  return
}

// -----

func.func @positions_c1(%x: tensor<?xf32>) {
  // expected-error @below {{expects a B x T x ... tensor, but got tensor<?xf32>}}
  %0, %1 = nn.positions %x : tensor<?xf32>
  return
}

// -----

func.func @positions_c2(%x: tensor<?x?x8xf32>, %f: tensor<?x?xi32>) {
  // expected-error @below {{expects tensor<?x1xi32> for the tokens before, but got tensor<?x?xi32>}}
  %0, %1 = nn.positions %x from %f : tensor<?x?x8xf32>, tensor<?x?xi32>
  return
}

// -----

func.func @to_float_c1(%p: tensor<?x?xi32>) {
  // expected-error @below {{expects a result with the shape of 'tensor<?x?xi32>', but got 'tensor<?x?x1xf32>'}}
  %0 = nn.to_float %p : tensor<?x?xi32> -> tensor<?x?x1xf32>
  return
}

// -----

func.func @iota_c1() {
  // expected-error @below {{expects a vector of static size, but got 'tensor<2x4xf32>'}}
  %0 = nn.iota : tensor<2x4xf32>
  return
}

// -----

func.func @attention_c1_rank(%x: tensor<?x?x8xf32>) {
  // expected-error @below {{expects a query, key and value of rank 4, but got tensor<?x?x8xf32>, tensor<?x?x8xf32>, tensor<?x?x8xf32>}}
  %0:4 = nn.attention %x, %x, %x window 4 : tensor<?x?x8xf32>, tensor<?x?x8xf32>, tensor<?x?x8xf32>
  return
}

// -----

func.func @attention_c1_width(%q: tensor<?x?x2x8xf32>, %k: tensor<?x?x2x6xf32>) {
  // expected-error @below {{expects a B x T x H x K query, a B x T x G x K key and a B x T x G x V value, but got tensor<?x?x2x8xf32>, tensor<?x?x2x6xf32>, tensor<?x?x2x8xf32>}}
  %0:4 = nn.attention %q, %k, %q window 4 : tensor<?x?x2x8xf32>, tensor<?x?x2x6xf32>, tensor<?x?x2x8xf32>
  return
}

// -----

func.func @attention_c2(%q: tensor<?x?x4x8xf32>, %k: tensor<?x?x3x8xf32>) {
  // expected-error @below {{expects a number of key heads that divides the 4 query heads, but got 3}}
  %0:4 = nn.attention %q, %k, %k window 4 : tensor<?x?x4x8xf32>, tensor<?x?x3x8xf32>, tensor<?x?x3x8xf32>
  return
}

// -----

func.func @attention_c3(%q: tensor<?x?x4x8xf32>) {
  // expected-error @below {{expects a window of at least 1 token, but got 0}}
  %0:4 = nn.attention %q, %q, %q window 0 : tensor<?x?x4x8xf32>, tensor<?x?x4x8xf32>, tensor<?x?x4x8xf32>
  return
}

// -----

func.func @attention_c4(%q: tensor<?x?x4x8xf32>, %k: tensor<?x?x4x8xf64>) {
  // expected-error @below {{expects operands of one element type, but got tensor<?x?x4x8xf32>, tensor<?x?x4x8xf64>, tensor<?x?x4x8xf64>}}
  %0:4 = nn.attention %q, %k, %k window 4 : tensor<?x?x4x8xf32>, tensor<?x?x4x8xf64>, tensor<?x?x4x8xf64>
  return
}

// -----

func.func @attention_c5(%q: tensor<?x?x4x8xf32>, %p: tensor<?x1xi32>) {
  // expected-error @below {{expects 'tensor<?x?xi32>' for the positions, but got 'tensor<?x1xi32>'}}
  %0:4 = nn.attention %q, %q, %q window 4 at (%p : tensor<?x1xi32>) : tensor<?x?x4x8xf32>, tensor<?x?x4x8xf32>, tensor<?x?x4x8xf32>
  return
}

// -----

func.func @attention_c6(%q: tensor<?x?x4x8xf32>, %p: tensor<?x4x4x8xf32>) {
  // expected-error @below {{expects 'tensor<?x3x4x8xf32>' for the keys of the past, but got 'tensor<?x4x4x8xf32>'}}
  %0:4 = nn.attention %q, %q, %q window 4 after (%p, %p : tensor<?x4x4x8xf32>, tensor<?x4x4x8xf32>) : tensor<?x?x4x8xf32>, tensor<?x?x4x8xf32>, tensor<?x?x4x8xf32>
  return
}

// -----

func.func @attention_grad_c7(%q: tensor<?x?x4x8xf32>, %l: tensor<?x?x4xf32>, %m: tensor<?x?x8xf32>) {
  // expected-error @below {{expects 'tensor<?x?x4xf32>' for lse and its cotangent, but got 'tensor<?x?x8xf32>'}}
  %0:5 = nn.attention_grad %q, %q, %q, %q, %l, %q window 4 lse (%m : tensor<?x?x8xf32>)
      : tensor<?x?x4x8xf32>, tensor<?x?x4x8xf32>, tensor<?x?x4x8xf32>, tensor<?x?x4x8xf32>, tensor<?x?x4xf32>, tensor<?x?x4x8xf32>
  return
}

// -----

func.func @map_c1(%x: tensor<?x8xf32>) {
  // expected-error @below {{body sees operand 0 as 'tensor<4xf32>', but 'tensor<?x8xf32>' gives 'tensor<8xf32>'}}
  %0 = nn.map rows 1 (%x) operand_rows [true] result_rows [true] {
  ^bb0(%a: tensor<4xf32>):
    nn.yield %a : tensor<4xf32>
  } : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @map_c1_counts(%x: tensor<?x8xf32>) {
  // expected-error @below {{expects a body with one argument per operand that yields one value per result}}
  %0 = nn.map rows 1 (%x) operand_rows [true] result_rows [true] {
  ^bb0(%a: tensor<8xf32>):
    nn.yield %a, %a : tensor<8xf32>, tensor<8xf32>
  } : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @map_c1_flags(%x: tensor<?x8xf32>) {
  // expected-error @below {{expects one flag per operand and per result}}
  %0 = nn.map rows 1 (%x) operand_rows [true, true] result_rows [true] {
  ^bb0(%a: tensor<8xf32>):
    nn.yield %a : tensor<8xf32>
  } : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @map_c2(%x: tensor<?x8xf32>, %y: tensor<4x8xf32>) {
  // expected-error @below {{row dimensions of operand 1 of type 'tensor<4x8xf32>' differ from the others}}
  %0 = nn.map rows 1 (%x, %y) operand_rows [true, true] result_rows [true] {
  ^bb0(%a: tensor<8xf32>, %b: tensor<8xf32>):
    nn.yield %a : tensor<8xf32>
  } : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @map_c3(%w: tensor<8xf32>) {
  // expected-error @below {{expects a sliced operand that gives the 1 row dimensions}}
  %0 = nn.map rows 1 (%w) operand_rows [false] result_rows [false] {
  ^bb0(%a: tensor<8xf32>):
    nn.yield %a : tensor<8xf32>
  } : (tensor<8xf32>) -> tensor<8xf32>
  return
}

// -----

func.func @cast_rows_c1(%x: tensor<?x64x8xf32>) {
  // expected-error @below {{expects types that differ in whether the second dimension is ?, but got 'tensor<?x64x8xf32>' and 'tensor<?x64x4xf32>'}}
  %0 = nn.cast_rows %x : tensor<?x64x8xf32> -> tensor<?x64x4xf32>
  return
}

// -----

func.func @last_rows_c1(%x: tensor<?x?x8xf32>) {
  // expected-error @below {{expects B x E x rest from B x T x rest with a known E, but got 'tensor<?x1x4xf32>' from 'tensor<?x?x8xf32>'}}
  %0 = nn.last_rows %x : tensor<?x?x8xf32> -> tensor<?x1x4xf32>
  return
}

// -----

func.func @last_rows_c2(%x: tensor<?x?x8xf32>, %p: tensor<?x2x8xf32>) {
  // expected-error @below {{expects rows before the sequence of type 'tensor<?x3x8xf32>', but got 'tensor<?x2x8xf32>'}}
  %0 = nn.last_rows %x after %p : tensor<?x?x8xf32>, tensor<?x2x8xf32> -> tensor<?x3x8xf32>
  return
}

// -----

func.func @blocks_c1(%x: tensor<?x?x8xf32>) {
  // expected-error @below {{calls 'missing', which is no function}}
  %y = nn.blocks @missing 4 (%x) : (tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  return
}

// -----

func.func private @rows(%x: tensor<?x?x8xf32>) -> tensor<?x?x4xf32>
func.func @blocks_c1_type(%x: tensor<?x?x8xf32>) {
  // expected-error @below {{needs a function of type '(tensor<?x?x8xf32>) -> tensor<?x?x8xf32>', but 'rows' has type '(tensor<?x?x8xf32>) -> tensor<?x?x4xf32>'}}
  %y = nn.blocks @rows 4 (%x) : (tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  return
}

// -----

func.func private @rows(%x: tensor<?x8xf32>) -> tensor<?x8xf32>
func.func @blocks_c2(%x: tensor<?x8xf32>) {
  // expected-error @below {{expects two row dimensions or none, but got 'tensor<?x8xf32>'}}
  %y = nn.blocks @rows 4 (%x) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func private @rows(%w: tensor<8xf32>) -> tensor<8xf32>
func.func @blocks_c2_no_rows(%w: tensor<8xf32>) {
  // expected-error @below {{expects an operand with row dimensions}}
  %y = nn.blocks @rows 4 (%w) : (tensor<8xf32>) -> tensor<8xf32>
  return
}

// -----

func.func private @rows(%x: tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
func.func @blocks_c3(%x: tensor<?x?x8xf32>) {
  // expected-error @below {{expects at least 1 block, but got 0}}
  %y = nn.blocks @rows 0 (%x) : (tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  return
}
