// RUN: tidegate-opt %s -split-input-file -rec-to-chunk -verify-diagnostics

// Bodies that are not affine in the state are errors at the term that is not;
// bodies that are affine but no event program stay in token form.

func.func @nonlinear(%x: tensor<?x?x2x4xf32>, %m: tensor<?x?x2x4x4xf32>) -> tensor<?x2x4x4xf32> {
  // expected-note @below {{in the body of this scan}}
  %s = rec.scan chunk 1 (%x, %m : tensor<?x?x2x4xf32>, tensor<?x?x2x4x4xf32>) kinds [0, 0] out_kinds [] states 1 {
  ^bb0(%k: tensor<4xf32>, %f: tensor<4x4xf32>, %S: tensor<4x4xf32>):
    // expected-error @below {{expects a recurrence that is affine in its state, but 'nn.tanh' is applied to it}}
    %t = nn.tanh %S : tensor<4x4xf32>
    %kk = nn.dot %k, %k contract [] x [] : tensor<4xf32>, tensor<4xf32>
    %next = nn.add %t, %kk : tensor<4x4xf32>, tensor<4x4xf32>
    rec.yield %next : tensor<4x4xf32>
  } -> tensor<?x2x4x4xf32>
  return %s : tensor<?x2x4x4xf32>
}

// -----

func.func @degree_two(%x: tensor<?x?x2x4xf32>, %m: tensor<?x?x2x4x4xf32>) -> tensor<?x2x4x4xf32> {
  // expected-note @below {{in the body of this scan}}
  %s = rec.scan chunk 1 (%x, %m : tensor<?x?x2x4xf32>, tensor<?x?x2x4x4xf32>) kinds [0, 0] out_kinds [] states 1 {
  ^bb0(%k: tensor<4xf32>, %f: tensor<4x4xf32>, %S: tensor<4x4xf32>):
    // expected-error @below {{expects a recurrence that is affine in its state, but this multiplies two terms that both depend on it}}
    %next = nn.dot %S, %S contract [1] x [0] : tensor<4x4xf32>, tensor<4x4xf32>
    rec.yield %next : tensor<4x4xf32>
  } -> tensor<?x2x4x4xf32>
  return %s : tensor<?x2x4x4xf32>
}

// -----

func.func @degree_two_through_a_read(%x: tensor<?x?x2x4xf32>, %m: tensor<?x?x2x4x4xf32>) -> tensor<?x2x4x4xf32> {
  // expected-note @below {{in the body of this scan}}
  %s = rec.scan chunk 1 (%x, %m : tensor<?x?x2x4xf32>, tensor<?x?x2x4x4xf32>) kinds [0, 0] out_kinds [] states 1 {
  ^bb0(%k: tensor<4xf32>, %f: tensor<4x4xf32>, %S: tensor<4x4xf32>):
    %r = nn.dot %k, %S contract [0] x [0] : tensor<4xf32>, tensor<4x4xf32>
    // expected-error @below {{expects a recurrence that is affine in its state, but this multiplies two terms that both depend on it}}
    %n = nn.mul %r, %r : tensor<4xf32>, tensor<4xf32>
    %u = nn.dot %k, %n contract [] x [] : tensor<4xf32>, tensor<4xf32>
    %next = nn.add %S, %u : tensor<4x4xf32>, tensor<4x4xf32>
    rec.yield %next : tensor<4x4xf32>
  } -> tensor<?x2x4x4xf32>
  return %s : tensor<?x2x4x4xf32>
}

// -----

func.func @division(%x: tensor<?x?x2x4xf32>, %m: tensor<?x?x2x4x4xf32>) -> tensor<?x2x4x4xf32> {
  // expected-note @below {{in the body of this scan}}
  %s = rec.scan chunk 1 (%x, %m : tensor<?x?x2x4xf32>, tensor<?x?x2x4x4xf32>) kinds [0, 0] out_kinds [] states 1 {
  ^bb0(%k: tensor<4xf32>, %f: tensor<4x4xf32>, %S: tensor<4x4xf32>):
    %r = nn.dot %k, %S contract [0] x [0] : tensor<4xf32>, tensor<4x4xf32>
    // expected-error @below {{expects a recurrence that is affine in its state, but this divides by a term that depends on it}}
    %n = nn.div %k, %r : tensor<4xf32>, tensor<4xf32>
    %u = nn.dot %k, %n contract [] x [] : tensor<4xf32>, tensor<4xf32>
    %next = nn.add %S, %u : tensor<4x4xf32>, tensor<4x4xf32>
    rec.yield %next : tensor<4x4xf32>
  } -> tensor<?x2x4x4xf32>
  return %s : tensor<?x2x4x4xf32>
}

// -----

func.func @named_term(%x: tensor<?x?x2x4xf32>, %m: tensor<?x?x2x4x4xf32>) -> tensor<?x2x4x4xf32> {
  // expected-note @below {{in the body of this scan}}
  %s = rec.scan chunk 1 (%x, %m : tensor<?x?x2x4xf32>, tensor<?x?x2x4x4xf32>) kinds [0, 0] out_kinds [] states 1 {
  ^bb0(%k: tensor<4xf32>, %f: tensor<4x4xf32>, %S: tensor<4x4xf32>):
    // expected-error @unknown {{expects a recurrence that is affine in its state, but in 'update', 'nn.exp' is applied to it}}
    %t = nn.exp %S : tensor<4x4xf32> loc("update")
    %next = nn.add %t, %S : tensor<4x4xf32>, tensor<4x4xf32>
    rec.yield %next : tensor<4x4xf32>
  } -> tensor<?x2x4x4xf32>
  return %s : tensor<?x2x4x4xf32>
}

// -----

func.func @full_matrix(%x: tensor<?x?x2x4xf32>, %m: tensor<?x?x2x4x4xf32>) -> tensor<?x2x4x4xf32> {
  // expected-note @below {{this scan}}
  %s = rec.scan chunk 1 (%x, %m : tensor<?x?x2x4xf32>, tensor<?x?x2x4x4xf32>) kinds [0, 0] out_kinds [] states 1 {
  ^bb0(%k: tensor<4xf32>, %f: tensor<4x4xf32>, %S: tensor<4x4xf32>):
    // expected-warning @below {{scan stays in token form: a summand of the state is not written as an outer product}}
    %next = nn.add %S, %f : tensor<4x4xf32>, tensor<4x4xf32>
    rec.yield %next : tensor<4x4xf32>
  } -> tensor<?x2x4x4xf32>
  return %s : tensor<?x2x4x4xf32>
}

// -----

func.func @element_wise_decay(%x: tensor<?x?x2x4xf32>, %m: tensor<?x?x2x4x4xf32>) -> tensor<?x2x4x4xf32> {
  // expected-note @below {{this scan}}
  %s = rec.scan chunk 1 (%x, %m : tensor<?x?x2x4xf32>, tensor<?x?x2x4x4xf32>) kinds [0, 0] out_kinds [] states 1 {
  ^bb0(%k: tensor<4xf32>, %f: tensor<4x4xf32>, %S: tensor<4x4xf32>):
    // expected-warning @below {{scan stays in token form: the state is scaled element by element, not along its keys and values}}
    %next = nn.mul %S, %f : tensor<4x4xf32>, tensor<4x4xf32>
    rec.yield %next : tensor<4x4xf32>
  } -> tensor<?x2x4x4xf32>
  return %s : tensor<?x2x4x4xf32>
}

// -----

func.func @scaled_read(%x: tensor<?x?x2x4xf32>, %m: tensor<?x?x2x4x4xf32>) -> tensor<?x2x4x4xf32> {
  // expected-note @below {{this scan}}
  %s = rec.scan chunk 1 (%x, %m : tensor<?x?x2x4xf32>, tensor<?x?x2x4x4xf32>) kinds [0, 0] out_kinds [] states 1 {
  ^bb0(%k: tensor<4xf32>, %f: tensor<4x4xf32>, %S: tensor<4x4xf32>):
    %r = nn.dot %k, %S contract [0] x [0] : tensor<4xf32>, tensor<4x4xf32>
    // expected-warning @below {{scan stays in token form: a read of the state is scaled element by element}}
    %u = nn.mul %r, %f : tensor<4xf32>, tensor<4x4xf32>
    %next = nn.add %S, %u : tensor<4x4xf32>, tensor<4x4xf32>
    rec.yield %next : tensor<4x4xf32>
  } -> tensor<?x2x4x4xf32>
  return %s : tensor<?x2x4x4xf32>
}

// -----

func.func @transposed_state(%x: tensor<?x?x2x4xf32>, %m: tensor<?x?x2x4x4xf32>) -> tensor<?x2x4x4xf32> {
  // expected-note @below {{this scan}}
  %s = rec.scan chunk 1 (%x, %m : tensor<?x?x2x4xf32>, tensor<?x?x2x4x4xf32>) kinds [0, 0] out_kinds [] states 1 {
  ^bb0(%k: tensor<4xf32>, %f: tensor<4x4xf32>, %S: tensor<4x4xf32>):
    // expected-warning @below {{scan stays in token form: 'nn.transpose' is applied to it}}
    %t = nn.transpose %S [1, 0] : tensor<4x4xf32> -> tensor<4x4xf32>
    %kk = nn.dot %k, %k contract [] x [] : tensor<4xf32>, tensor<4xf32>
    %next = nn.add %t, %kk : tensor<4x4xf32>, tensor<4x4xf32>
    rec.yield %next : tensor<4x4xf32>
  } -> tensor<?x2x4x4xf32>
  return %s : tensor<?x2x4x4xf32>
}

// -----

func.func @forgotten_state(%x: tensor<?x?x2x4xf32>, %m: tensor<?x?x2x4x4xf32>) -> tensor<?x2x4x4xf32> {
  // expected-warning @below {{scan stays in token form: the new state does not depend on the old one}}
  %s = rec.scan chunk 1 (%x, %m : tensor<?x?x2x4xf32>, tensor<?x?x2x4x4xf32>) kinds [0, 0] out_kinds [] states 1 {
  ^bb0(%k: tensor<4xf32>, %f: tensor<4x4xf32>, %S: tensor<4x4xf32>):
    %next = nn.dot %k, %k contract [] x [] : tensor<4xf32>, tensor<4xf32>
    rec.yield %next : tensor<4x4xf32>
  } -> tensor<?x2x4x4xf32>
  return %s : tensor<?x2x4x4xf32>
}

// -----

func.func @vector_state(%x: tensor<?x?x2x4xf32>, %m: tensor<?x?x2x4x4xf32>) -> tensor<?x2x4xf32> {
  // expected-note @below {{this scan}}
  %s = rec.scan chunk 1 (%x, %m : tensor<?x?x2x4xf32>, tensor<?x?x2x4x4xf32>) kinds [0, 0] out_kinds [] states 1 {
  ^bb0(%k: tensor<4xf32>, %f: tensor<4x4xf32>, %S: tensor<4xf32>):
    %sum = nn.add %S, %k : tensor<4xf32>, tensor<4xf32>
    // expected-warning @below {{scan stays in token form: 'nn.tanh' is applied to it}}
    %next = nn.tanh %sum : tensor<4xf32>
    rec.yield %next : tensor<4xf32>
  } -> tensor<?x2x4xf32>
  return %s : tensor<?x2x4xf32>
}

// -----

func.func @higher_state(%x: tensor<?x?x2x4xf32>, %m: tensor<?x?x2x4x4x4xf32>) -> tensor<?x2x4x4x4xf32> {
  // expected-warning @below {{scan stays in token form: its state has rank 3}}
  %s = rec.scan chunk 1 (%x, %m : tensor<?x?x2x4xf32>, tensor<?x?x2x4x4x4xf32>) kinds [0, 0] out_kinds [] states 1 {
  ^bb0(%k: tensor<4xf32>, %f: tensor<4x4x4xf32>, %S: tensor<4x4x4xf32>):
    %next = nn.add %S, %f : tensor<4x4x4xf32>, tensor<4x4x4xf32>
    rec.yield %next : tensor<4x4x4xf32>
  } -> tensor<?x2x4x4x4xf32>
  return %s : tensor<?x2x4x4x4xf32>
}

// -----

func.func @reset_behind_a_read(%x: tensor<?x?x2x4xf32>, %f: tensor<?x?x2xf32>) -> tensor<?x?x2x4xf32> {
  // expected-note @below {{this scan}}
  %o, %s = rec.scan chunk 1 (%x, %f : tensor<?x?x2x4xf32>, tensor<?x?x2xf32>) kinds [0, 0] out_kinds [0] states 1 {
  ^bb0(%k: tensor<4xf32>, %ft: tensor<f32>, %S: tensor<4x4xf32>):
    %old = nn.dot %k, %S contract [0] x [0] : tensor<4xf32>, tensor<4x4xf32>
    // expected-warning @below {{scan stays in token form: the state is reset behind another use of it}}
    %R = rec.reset %S, %ft : tensor<4x4xf32>, tensor<f32>
    %kk = nn.dot %k, %k contract [] x [] : tensor<4xf32>, tensor<4xf32>
    %next = nn.add %R, %kk : tensor<4x4xf32>, tensor<4x4xf32>
    rec.yield %old, %next : tensor<4xf32>, tensor<4x4xf32>
  } -> tensor<?x?x2x4xf32>, tensor<?x2x4x4xf32>
  return %o : tensor<?x?x2x4xf32>
}

// -----

func.func @reset_to_a_value_of_the_token(%x: tensor<?x?x2x4xf32>, %m: tensor<?x?x2x4x4xf32>, %f: tensor<?x?x2xf32>)
    -> tensor<?x2x4x4xf32> {
  // expected-note @below {{this scan}}
  %s = rec.scan chunk 1 (%x, %m, %f : tensor<?x?x2x4xf32>, tensor<?x?x2x4x4xf32>, tensor<?x?x2xf32>) kinds [0, 0, 0]
      out_kinds [] states 1 {
  ^bb0(%k: tensor<4xf32>, %mt: tensor<4x4xf32>, %ft: tensor<f32>, %S: tensor<4x4xf32>):
    // expected-warning @below {{scan stays in token form: the state is reset to a value of the token}}
    %R = rec.reset %S, %ft to %mt : tensor<4x4xf32>, tensor<f32>, tensor<4x4xf32>
    %kk = nn.dot %k, %k contract [] x [] : tensor<4xf32>, tensor<4xf32>
    %next = nn.add %R, %kk : tensor<4x4xf32>, tensor<4x4xf32>
    rec.yield %next : tensor<4x4xf32>
  } -> tensor<?x2x4x4xf32>
  return %s : tensor<?x2x4x4xf32>
}
