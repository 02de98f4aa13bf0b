// RUN: tidegate-opt %s -split-input-file -verify-diagnostics

func.func @scan_c1_kinds(%x: tensor<?x?x2x4xf32>) {
  // expected-error @below {{expects one kind per operand, but got 2 for 1}}
  %r0, %r1 = rec.scan chunk 1 (%x : tensor<?x?x2x4xf32>) kinds [0, 0] out_kinds [0] states 1 {
  ^bb0(%a: tensor<4xf32>, %S: tensor<4xf32>):
    rec.yield %a, %S : tensor<4xf32>, tensor<4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4xf32>
  return
}

// -----

func.func @scan_c1_unknown_kind(%x: tensor<?x?x2x4xf32>) {
  // expected-error @below {{has no operand kind 5}}
  %r0, %r1 = rec.scan chunk 1 (%x : tensor<?x?x2x4xf32>) kinds [5] out_kinds [0] states 1 {
  ^bb0(%a: tensor<4xf32>, %S: tensor<4xf32>):
    rec.yield %a, %S : tensor<4xf32>, tensor<4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4xf32>
  return
}

// -----

func.func @scan_c1_output_kind(%x: tensor<?x?x2x4xf32>) {
  // expected-error @below {{outputs are per token or per step, but got kind 2}}
  %r0, %r1 = rec.scan chunk 1 (%x : tensor<?x?x2x4xf32>) kinds [0] out_kinds [2] states 1 {
  ^bb0(%a: tensor<4xf32>, %S: tensor<4xf32>):
    rec.yield %a, %S : tensor<4xf32>, tensor<4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4xf32>
  return
}

// -----

func.func @scan_c1_argument_count(%x: tensor<?x?x2x4xf32>) {
  // expected-error @below {{expects a body of 2 arguments, but got 1}}
  %r0, %r1 = rec.scan chunk 1 (%x : tensor<?x?x2x4xf32>) kinds [0] out_kinds [0] states 1 {
  ^bb0(%a: tensor<4xf32>):
    rec.yield %a, %a : tensor<4xf32>, tensor<4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4xf32>
  return
}

// -----

func.func @scan_c1_argument_type(%x: tensor<?x?x2x4xf32>) {
  // expected-error @below {{body sees operand 0 as 'tensor<3xf32>', but 'tensor<?x?x2x4xf32>' gives 'tensor<4xf32>'}}
  %r0, %r1 = rec.scan chunk 1 (%x : tensor<?x?x2x4xf32>) kinds [0] out_kinds [0] states 1 {
  ^bb0(%a: tensor<3xf32>, %S: tensor<4xf32>):
    rec.yield %S, %S : tensor<4xf32>, tensor<4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4xf32>
  return
}

// -----

func.func @scan_c1_chunk_rows(%x: tensor<?x?x2x4xf32>) {
  // expected-error @below {{body sees operand 0 as 'tensor<4xf32>', but 'tensor<?x?x2x4xf32>' gives 'tensor<16x4xf32>'}}
  %r0, %r1 = rec.scan chunk 16 (%x : tensor<?x?x2x4xf32>) kinds [0] out_kinds [0] states 1 {
  ^bb0(%a: tensor<4xf32>, %S: tensor<4xf32>):
    rec.yield %a, %S : tensor<4xf32>, tensor<4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4xf32>
  return
}

// -----

func.func @scan_c1_state_type(%x: tensor<?x?x2x4xf32>) {
  // expected-error @below {{state enters the body as 'tensor<4xf32>' and leaves it as 'tensor<4x1xf32>'}}
  %r0, %r1 = rec.scan chunk 1 (%x : tensor<?x?x2x4xf32>) kinds [0] out_kinds [0] states 1 {
  ^bb0(%a: tensor<4xf32>, %S: tensor<4xf32>):
    %n = nn.reshape %S : tensor<4xf32> -> tensor<4x1xf32>
    rec.yield %a, %n : tensor<4xf32>, tensor<4x1xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4xf32>
  return
}

// -----

func.func @scan_c1_yield_count(%x: tensor<?x?x2x4xf32>) {
  // expected-error @below {{expects a body that yields 1 outputs and 1 states}}
  %r0, %r1 = rec.scan chunk 1 (%x : tensor<?x?x2x4xf32>) kinds [0] out_kinds [0] states 1 {
  ^bb0(%a: tensor<4xf32>, %S: tensor<4xf32>):
    rec.yield %S : tensor<4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4xf32>
  return
}

// -----

func.func @scan_c1_output_rows(%x: tensor<?x?x2x4xf32>) {
  // expected-error @below {{output 0 of type 'tensor<4xf32>' needs one row per token of the chunk}}
  %r0, %r1 = rec.scan chunk 16 (%x : tensor<?x?x2x4xf32>) kinds [0] out_kinds [0] states 1 {
  ^bb0(%a: tensor<16x4xf32>, %S: tensor<4xf32>):
    rec.yield %S, %S : tensor<4xf32>, tensor<4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4xf32>
  return
}

// -----

func.func @scan_c1_results(%x: tensor<?x?x2x4xf32>) {
  // expected-error @below {{expects results of types 'tensor<?x?x2x4xf32>', 'tensor<?x2x4xf32>', but got 'tensor<?x?x2x4xf32>', 'tensor<?x2x5xf32>'}}
  %r0, %r1 = rec.scan chunk 1 (%x : tensor<?x?x2x4xf32>) kinds [0] out_kinds [0] states 1 {
  ^bb0(%a: tensor<4xf32>, %S: tensor<4xf32>):
    rec.yield %a, %S : tensor<4xf32>, tensor<4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x5xf32>
  return
}

// -----

func.func @scan_chunk(%x: tensor<?x?x2x4xf32>) {
  // expected-error @below {{expects a chunk of at least one token, but got 0}}
  %r0, %r1 = rec.scan chunk 0 (%x : tensor<?x?x2x4xf32>) kinds [0] out_kinds [0] states 1 {
  ^bb0(%a: tensor<4xf32>, %S: tensor<4xf32>):
    rec.yield %a, %S : tensor<4xf32>, tensor<4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4xf32>
  return
}

// -----

func.func @scan_c2(%x: tensor<4xf32>) {
  // expected-error @below {{expects the first operand to be per token}}
  %r0, %r1 = rec.scan chunk 1 (%x : tensor<4xf32>) kinds [3] out_kinds [0] states 1 {
  ^bb0(%a: tensor<4xf32>, %S: tensor<4xf32>):
    rec.yield %a, %S : tensor<4xf32>, tensor<4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4xf32>
  return
}

// -----

func.func @scan_c2_rank(%x: tensor<?x4xf32>) {
  // expected-error @below {{operand 0 of type 'tensor<?x4xf32>' has too few dimensions}}
  %r0, %r1 = rec.scan chunk 1 (%x : tensor<?x4xf32>) kinds [0] out_kinds [0] states 1 {
  ^bb0(%a: tensor<4xf32>, %S: tensor<4xf32>):
    rec.yield %a, %S : tensor<4xf32>, tensor<4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4xf32>
  return
}

// -----

func.func @scan_c3(%x: tensor<?x?x2x4xf32>, %s0: tensor<?x2x4xf32>) {
  // expected-error @below {{expects at most 1 initial states, but got 2}}
  %r0, %r1 = rec.scan chunk 1 (%x : tensor<?x?x2x4xf32>) init (%s0, %s0 : tensor<?x2x4xf32>, tensor<?x2x4xf32>) kinds [0] out_kinds [0] states 1 {
  ^bb0(%a: tensor<4xf32>, %S: tensor<4xf32>):
    rec.yield %a, %S : tensor<4xf32>, tensor<4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4xf32>
  return
}

// -----

func.func @scan_c3_type(%x: tensor<?x?x2x4xf32>, %s0: tensor<?x2x5xf32>) {
  // expected-error @below {{initial state has type 'tensor<?x2x5xf32>', but the state needs 'tensor<?x2x4xf32>'}}
  %r0, %r1 = rec.scan chunk 1 (%x : tensor<?x?x2x4xf32>) init (%s0 : tensor<?x2x5xf32>) kinds [0] out_kinds [0] states 1 {
  ^bb0(%a: tensor<4xf32>, %S: tensor<4xf32>):
    rec.yield %a, %S : tensor<4xf32>, tensor<4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4xf32>
  return
}

// -----

// expected-note @below {{they come from this operand of type 'tensor<?x?x2x4xf32>'}}
func.func @scan_c4_heads(%x: tensor<?x?x2x4xf32>, %y: tensor<?x?x3x4xf32>) {
  // expected-error @below {{operand 1 of type 'tensor<?x?x3x4xf32>' disagrees in B, T, N or H}}
  %r0, %r1 = rec.scan chunk 1 (%x, %y : tensor<?x?x2x4xf32>, tensor<?x?x3x4xf32>) kinds [0, 0] out_kinds [0] states 1 {
  ^bb0(%a: tensor<4xf32>, %b: tensor<4xf32>, %S: tensor<4xf32>):
    rec.yield %a, %S : tensor<4xf32>, tensor<4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4xf32>
  return
}

// -----

// expected-note @below {{they come from this operand of type 'tensor<?x?x2x4xf32>'}}
func.func @scan_c4_heads_of_a_head_operand(%x: tensor<?x?x2x4xf32>, %y: tensor<3x4xf32>) {
  // expected-error @below {{operand 1 of type 'tensor<3x4xf32>' disagrees in B, T, N or H}}
  %r0, %r1 = rec.scan chunk 1 (%x, %y : tensor<?x?x2x4xf32>, tensor<3x4xf32>) kinds [0, 2] out_kinds [0] states 1 {
  ^bb0(%a: tensor<4xf32>, %b: tensor<4xf32>, %S: tensor<4xf32>):
    rec.yield %a, %S : tensor<4xf32>, tensor<4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4xf32>
  return
}

// -----

// expected-note @below {{they come from this operand of type 'tensor<3x40x2x4xf32>'}}
func.func @scan_c4_steps(%x: tensor<3x40x2x4xf32>, %y: tensor<3x2x2x4xf32>) {
  // expected-error @below {{operand 1 of type 'tensor<3x2x2x4xf32>' disagrees in B, T, N or H}}
  %r0, %r1 = rec.scan chunk 16 (%x, %y : tensor<3x40x2x4xf32>, tensor<3x2x2x4xf32>) kinds [0, 1] out_kinds [0] states 1 {
  ^bb0(%a: tensor<16x4xf32>, %b: tensor<4xf32>, %S: tensor<4xf32>):
    rec.yield %a, %S : tensor<16x4xf32>, tensor<4xf32>
  } -> tensor<3x40x2x4xf32>, tensor<3x2x4xf32>
  return
}

// -----

func.func @cumsum_c1(%x: tensor<?x4xf32>) {
  // expected-error @below {{expects a static first dimension, but got 'tensor<?x4xf32>'}}
  %r = rec.cumsum %x : tensor<?x4xf32>
  return
}

// -----

func.func @decay_scores_c1(%q: tensor<6x4xf32>, %k: tensor<6x5xf32>) {
  // expected-error @below {{expects matrices of one width, but got 'tensor<6x4xf32>' and 'tensor<6x5xf32>'}}
  %r = rec.decay_scores %q, %k at [1] x [0] : (tensor<6x4xf32>, tensor<6x5xf32>) -> tensor<6x6xf32>
  return
}

// -----

func.func @decay_scores_c1_result(%q: tensor<6x4xf32>, %k: tensor<3x4xf32>) {
  // expected-error @below {{expects a result of 6 x 3, but got 'tensor<6x6xf32>'}}
  %r = rec.decay_scores %q, %k at [1, 2] x [0] : (tensor<6x4xf32>, tensor<3x4xf32>) -> tensor<6x6xf32>
  return
}

// -----

func.func @decay_scores_c2(%q: tensor<6x4xf32>) {
  // expected-error @below {{expects rows that are 2 and columns that are 1 events of equally many tokens, but got 6 and 6}}
  %r = rec.decay_scores %q, %q at [1, 2] x [0] : (tensor<6x4xf32>, tensor<6x4xf32>) -> tensor<6x6xf32>
  return
}

// -----

func.func @decay_scores_c2_no_position(%q: tensor<6x4xf32>) {
  // expected-error @below {{expects rows that are 0 and columns that are 1 events of equally many tokens, but got 6 and 6}}
  %r = rec.decay_scores %q, %q at [] x [0] : (tensor<6x4xf32>, tensor<6x4xf32>) -> tensor<6x6xf32>
  return
}

// -----

func.func @decay_scores_c3_width(%q: tensor<6x4xf32>, %g: tensor<6x2xf32>) {
  // expected-error @below {{expects a row gate of 6 x 4 or 6 x 1, but got 'tensor<6x2xf32>'}}
  %r = rec.decay_scores %q, %q gates %g, %g at [1] x [0] : (tensor<6x4xf32>, tensor<6x4xf32>, tensor<6x2xf32>, tensor<6x2xf32>) -> tensor<6x6xf32>
  return
}

// -----

func.func @decay_scores_c3_rows(%q: tensor<6x4xf32>, %g: tensor<3x4xf32>) {
  // expected-error @below {{expects a column gate of 6 x 4 or 6 x 1, but got 'tensor<3x4xf32>'}}
  %r = rec.decay_scores %q, %q gates %q, %g at [1] x [0] : (tensor<6x4xf32>, tensor<6x4xf32>, tensor<6x4xf32>, tensor<3x4xf32>) -> tensor<6x6xf32>
  return
}

// -----

func.func @decay_scores_c3_one_gate(%q: tensor<6x4xf32>) {
  // expected-error @below {{expects both gates or none}}
  %r = "rec.decay_scores"(%q, %q, %q) <{row_positions = array<i64: 1>, col_positions = array<i64: 0>, operandSegmentSizes = array<i32: 1, 1, 1, 0>}> : (tensor<6x4xf32>, tensor<6x4xf32>, tensor<6x4xf32>) -> tensor<6x6xf32>
  return
}

// -----

func.func @decay_mix_c1(%p: tensor<6x3xf32>, %x: tensor<6x4xf32>) {
  // expected-error @below {{expects a matrix and one row of input per column of it, but got 'tensor<6x3xf32>' and 'tensor<6x4xf32>'}}
  %r = rec.decay_mix %p, %x at [1, 2] x [0] : (tensor<6x3xf32>, tensor<6x4xf32>) -> tensor<6x4xf32>
  return
}

// -----

func.func @decay_mix_c1_transposed(%p: tensor<6x3xf32>, %x: tensor<3x4xf32>) {
  // expected-error @below {{expects a matrix and one row of input per row of it, but got 'tensor<6x3xf32>' and 'tensor<3x4xf32>'}}
  %r = rec.decay_mix transposed %p, %x at [1, 2] x [0] : (tensor<6x3xf32>, tensor<3x4xf32>) -> tensor<3x4xf32>
  return
}

// -----

func.func @decay_mix_c1_result(%p: tensor<6x3xf32>, %x: tensor<3x4xf32>) {
  // expected-error @below {{expects a result of 6 x 4, but got 'tensor<3x4xf32>'}}
  %r = rec.decay_mix %p, %x at [1, 2] x [0] : (tensor<6x3xf32>, tensor<3x4xf32>) -> tensor<3x4xf32>
  return
}

// -----

func.func @decay_mix_c2(%p: tensor<6x3xf32>, %x: tensor<3x4xf32>) {
  // expected-error @below {{expects rows that are 1 and columns that are 1 events of equally many tokens, but got 6 and 3}}
  %r = rec.decay_mix %p, %x at [1] x [0] : (tensor<6x3xf32>, tensor<3x4xf32>) -> tensor<6x4xf32>
  return
}

// -----

func.func @decay_mix_c3(%p: tensor<6x6xf32>, %x: tensor<6x4xf32>, %g: tensor<6x3xf32>) {
  // expected-error @below {{expects a row gate of 6 x 4 or 6 x 1, but got 'tensor<6x3xf32>'}}
  %r = rec.decay_mix %p, %x gates %g, %x at [1] x [0] : (tensor<6x6xf32>, tensor<6x4xf32>, tensor<6x3xf32>, tensor<6x4xf32>) -> tensor<6x4xf32>
  return
}

// -----

func.func @solve_unit_lower_c1(%m: tensor<6x5xf32>, %y: tensor<6x4xf32>) {
  // expected-error @below {{expects a square matrix with as many rows as the right side, but got 'tensor<6x5xf32>' and 'tensor<6x4xf32>'}}
  %r = rec.solve_unit_lower %m, %y : tensor<6x5xf32>, tensor<6x4xf32> -> tensor<6x4xf32>
  return
}

// -----

func.func @strictly_lower_c1(%m: tensor<6xf32>) {
  // expected-error @below {{expects a matrix, but got 'tensor<6xf32>'}}
  %r = rec.strictly_lower %m : tensor<6xf32>
  return
}

// -----

func.func @reset_c1(%s: tensor<4x8xf32>, %f: tensor<4xf32>) {
  // expected-error @below {{expects one number of the state's element type as flag, but got 'tensor<4xf32>'}}
  %0 = rec.reset %s, %f : tensor<4x8xf32>, tensor<4xf32>
  return
}

// -----

func.func @reset_c2(%s: tensor<4x8xf32>, %f: tensor<f32>, %i: tensor<8xf32>) {
  // expected-error @below {{starts a state of type 'tensor<4x8xf32>' anew from a value of type 'tensor<8xf32>'}}
  %0 = rec.reset %s, %f to %i : tensor<4x8xf32>, tensor<f32>, tensor<8xf32>
  return
}

// -----

// expected-note @below {{they come from this operand of type 'tensor<?x?x2x4xf32>'}}
func.func @scan_c4_row(%x: tensor<?x?x2x4xf32>, %r: tensor<?x3x4xf32>) {
  // expected-error @below {{operand 1 of type 'tensor<?x3x4xf32>' disagrees in B, T, N or H}}
  %r0, %r1 = rec.scan chunk 1 (%x, %r : tensor<?x?x2x4xf32>, tensor<?x3x4xf32>) kinds [0, 4] out_kinds [0] states 1 {
  ^bb0(%a: tensor<4xf32>, %b: tensor<4xf32>, %S: tensor<4xf32>):
    rec.yield %a, %S : tensor<4xf32>, tensor<4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4xf32>
  return
}

// -----

func.func @unless_last_c2(%x: tensor<4xf32>) {
  // expected-error @below {{expects parent op 'rec.scan'}}
  %0 = rec.unless_last %x, %x : tensor<4xf32>
  return
}

// -----

func.func @when_c1_flags(%x: tensor<?x?x2x4xf32>) {
  %s = rec.scan chunk 1 (%x : tensor<?x?x2x4xf32>) kinds [0] out_kinds [] states 1 {
  ^bb0(%r: tensor<4xf32>, %S: tensor<4xf32>):
    %u = nn.neg %S : tensor<4xf32>
    // expected-error @below {{expects a vector that enters the body of a token scan as flags, but got 'tensor<4xf32>'}}
    %n = rec.when %u, %r, %S : tensor<4xf32>, tensor<4xf32>
    rec.yield %n : tensor<4xf32>
  } -> tensor<?x2x4xf32>
  return
}

// -----

func.func @when_c1_one(%x: tensor<?x?x2x4xf32>) {
  %s, %t = rec.scan chunk 1 (%x : tensor<?x?x2x4xf32>) kinds [0] out_kinds [] states 2 {
  ^bb0(%r: tensor<4xf32>, %S: tensor<4xf32>, %T: tensor<4xf32>):
    // expected-error @below {{expects the same flags as the other ops of its kind in the body}}
    %n = rec.when %S, %r, %S : tensor<4xf32>, tensor<4xf32>
    %m = rec.when %T, %r, %T : tensor<4xf32>, tensor<4xf32>
    rec.yield %n, %m : tensor<4xf32>, tensor<4xf32>
  } -> tensor<?x2x4xf32>, tensor<?x2x4xf32>
  return
}

// -----

func.func @scan_c3_without_batch(%x: tensor<?x?x2x4xf32>, %s0: tensor<4xf32>) {
  // expected-error @below {{initial state has type 'tensor<4xf32>', but the state needs 'tensor<?x2x4xf32>'}}
  %s = rec.scan chunk 1 (%x : tensor<?x?x2x4xf32>) init (%s0 : tensor<4xf32>) kinds [0] out_kinds [] states 1 {
  ^bb0(%r: tensor<4xf32>, %S: tensor<4xf32>):
    rec.yield %S : tensor<4xf32>
  } -> tensor<?x2x4xf32>
  return
}

// -----

func.func @decay_solve_c1(%m: tensor<6x5xf32>, %y: tensor<6x4xf32>) {
  // expected-error @below {{expects a square matrix with as many rows as the right side, but got 'tensor<6x5xf32>' and 'tensor<6x4xf32>'}}
  %r = rec.decay_solve %m, %y at [0] x [0] : (tensor<6x5xf32>, tensor<6x4xf32>) -> tensor<6x4xf32>
  return
}

// -----

func.func @decay_solve_c2(%m: tensor<6x6xf32>, %y: tensor<6x4xf32>, %f: tensor<6x1xf32>) {
  // expected-error @below {{expects a factor of the type of the right side, 'tensor<6x4xf32>', but got 'tensor<6x1xf32>'}}
  %r = rec.decay_solve %m, %y factor %f at [0] x [0] : (tensor<6x6xf32>, tensor<6x4xf32>, tensor<6x1xf32>) -> tensor<6x4xf32>
  return
}

// -----

func.func @decay_solve_c3(%m: tensor<6x6xf32>, %y: tensor<6x4xf32>) {
  // expected-error @below {{expects a place in rows and a place in columns, not earlier, for each event}}
  %r = rec.decay_solve %m, %y at [1] x [0] : (tensor<6x6xf32>, tensor<6x4xf32>) -> tensor<6x4xf32>
  return
}

// -----

func.func @decay_solve_c4(%m: tensor<6x6xf32>, %y: tensor<6x4xf32>, %g: tensor<6x1xf32>) {
  // expected-error @below {{expects gates of the type of the right side, 'tensor<6x4xf32>', but got 'tensor<6x1xf32>'}}
  %r = rec.decay_solve %m, %y gates %g, %g at [0] x [0] : (tensor<6x6xf32>, tensor<6x4xf32>, tensor<6x1xf32>, tensor<6x1xf32>) -> tensor<6x4xf32>
  return
}

// -----

func.func @decay_solve_c4_tokens(%m: tensor<6x6xf32>, %y: tensor<6x4xf32>) {
  // expected-error @below {{expects rows that are 4 and columns that are 4 events of equally many tokens, but got 6 and 6}}
  %r = rec.decay_solve %m, %y at [0, 0, 0, 0] x [0, 1, 2, 3] : (tensor<6x6xf32>, tensor<6x4xf32>) -> tensor<6x4xf32>
  return
}

// -----

func.func @loop_c1(%x: tensor<?x?x2x4xf32>) {
  // expected-error @below {{calls 'missing', which is no function}}
  %o = rec.loop @missing last @missing chunk 64 (%x : tensor<?x?x2x4xf32>) kinds [0] out_kinds [0] heads [2] states 0 -> tensor<?x?x2x4xf32>
  return
}

// -----

func.func private @step(tensor<?x4xf32>) -> tensor<?x?x4xf32>
func.func @loop_c2(%x: tensor<?x?x2x4xf32>) {
  // expected-error @below {{needs a function of type '(tensor<?x?x4xf32>) -> tensor<?x?x4xf32>', but 'step' has type '(tensor<?x4xf32>) -> tensor<?x?x4xf32>'}}
  %o = rec.loop @step last @step chunk 64 (%x : tensor<?x?x2x4xf32>) kinds [0] out_kinds [0] heads [2] states 0 -> tensor<?x?x2x4xf32>
  return
}
