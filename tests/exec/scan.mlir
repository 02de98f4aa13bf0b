// Scans in token and chunk form.

func.func @gla_token(%a: tensor<?x?x2x5xf64>, %k: tensor<?x?x2x5xf64>, %v: tensor<?x?x2x12xf64>, %q: tensor<?x?x2x5xf64>, %s0: tensor<?x2x5x12xf64>)
    -> (tensor<?x?x2x12xf64>, tensor<?x2x5x12xf64>, tensor<?x?x2x5x12xf64>) {
  %o, %s, %e = rec.scan save_states chunk 1 (%a, %k, %v, %q : tensor<?x?x2x5xf64>, tensor<?x?x2x5xf64>, tensor<?x?x2x12xf64>, tensor<?x?x2x5xf64>)
      init (%s0 : tensor<?x2x5x12xf64>) kinds [0, 0, 0, 0] out_kinds [0] states 1 {
  ^bb0(%at: tensor<5xf64>, %kt: tensor<5xf64>, %vt: tensor<12xf64>, %qt: tensor<5xf64>, %S: tensor<5x12xf64>):
    %g = nn.sigmoid %at : tensor<5xf64>
    %d = nn.reshape %g : tensor<5xf64> -> tensor<5x1xf64>
    %decayed = nn.mul %d, %S : tensor<5x1xf64>, tensor<5x12xf64>
    %kv = nn.dot %kt, %vt contract [] x [] : tensor<5xf64>, tensor<12xf64>
    %next = nn.add %decayed, %kv : tensor<5x12xf64>, tensor<5x12xf64>
    %ot = nn.dot %qt, %next contract [0] x [0] : tensor<5xf64>, tensor<5x12xf64>
    rec.yield %ot, %next : tensor<12xf64>, tensor<5x12xf64>
  } -> tensor<?x?x2x12xf64>, tensor<?x2x5x12xf64>, tensor<?x?x2x5x12xf64>
  return %o, %s, %e : tensor<?x?x2x12xf64>, tensor<?x2x5x12xf64>, tensor<?x?x2x5x12xf64>
}

func.func @matrix_vector(%k: tensor<?x?x2x5xf64>, %v: tensor<?x?x2x20xf64>, %m: tensor<2x5x20xf64>, %n: tensor<20x20xf64>)
    -> (tensor<?x?x2x5xf64>, tensor<?x?x2x20xf64>, tensor<?x?x2x20xf64>) {
  %o:3 = rec.scan reverse chunk 1 (%k, %v, %m, %n : tensor<?x?x2x5xf64>, tensor<?x?x2x20xf64>, tensor<2x5x20xf64>, tensor<20x20xf64>)
      kinds [0, 0, 2, 3] out_kinds [0, 0, 0] states 0 {
  ^bb0(%kt: tensor<5xf64>, %vt: tensor<20xf64>, %mt: tensor<5x20xf64>, %nt: tensor<20x20xf64>):
    %u = nn.dot %mt, %vt contract [1] x [0] : tensor<5x20xf64>, tensor<20xf64>
    %w = nn.dot %nt, %vt contract [0] x [0] : tensor<20x20xf64>, tensor<20xf64>
    %kv = nn.dot %kt, %vt contract [] x [] : tensor<5xf64>, tensor<20xf64>
    %x = nn.dot %u, %kv contract [0] x [0] : tensor<5xf64>, tensor<5x20xf64>
    rec.yield %u, %w, %x : tensor<5xf64>, tensor<20xf64>, tensor<20xf64>
  } -> tensor<?x?x2x5xf64>, tensor<?x?x2x20xf64>, tensor<?x?x2x20xf64>
  return %o#0, %o#1, %o#2 : tensor<?x?x2x5xf64>, tensor<?x?x2x20xf64>, tensor<?x?x2x20xf64>
}

func.func @chunk_channel(%g: tensor<?x?x2x9xf64>, %k: tensor<?x?x2x9xf64>, %v: tensor<?x?x2x24xf64>, %q: tensor<?x?x2x9xf64>)
    -> (tensor<?x?x2x24xf64>, tensor<?x?x2x9xf64>, tensor<?x?x2x9xf64>, tensor<?x2x9x24xf64>) {
  %o:4 = rec.scan chunk 40 (%g, %k, %v, %q : tensor<?x?x2x9xf64>, tensor<?x?x2x9xf64>, tensor<?x?x2x24xf64>, tensor<?x?x2x9xf64>)
      kinds [0, 0, 0, 0] out_kinds [0, 0, 0] states 1 {
  ^bb0(%x: tensor<40x9xf64>, %kt: tensor<40x9xf64>, %vt: tensor<40x24xf64>, %qt: tensor<40x9xf64>, %S: tensor<9x24xf64>):
    %soft = nn.softplus %x : tensor<40x9xf64>
    %gate = nn.neg %soft : tensor<40x9xf64>
    %G = rec.cumsum %gate : tensor<40x9xf64>
    %P = rec.decay_scores %qt, %kt gates %G, %G at [2] x [1] : (tensor<40x9xf64>, tensor<40x9xf64>, tensor<40x9xf64>, tensor<40x9xf64>) -> tensor<40x40xf64>
    %o1 = nn.dot %P, %vt contract [1] x [0] : tensor<40x40xf64>, tensor<40x24xf64>
    %e = nn.exp %G : tensor<40x9xf64>
    %qe = nn.mul %qt, %e : tensor<40x9xf64>, tensor<40x9xf64>
    %o2 = nn.dot %qe, %S contract [1] x [0] : tensor<40x9xf64>, tensor<9x24xf64>
    %o = nn.add %o1, %o2 : tensor<40x24xf64>, tensor<40x24xf64>
    %y1 = rec.decay_mix %P, %kt gates %G, %G at [2] x [1] : (tensor<40x40xf64>, tensor<40x9xf64>, tensor<40x9xf64>, tensor<40x9xf64>) -> tensor<40x9xf64>
    %y2 = rec.decay_mix transposed %P, %qt gates %G, %G at [2] x [1] : (tensor<40x40xf64>, tensor<40x9xf64>, tensor<40x9xf64>, tensor<40x9xf64>) -> tensor<40x9xf64>
    %end = nn.reduce_sum %gate [0] : tensor<40x9xf64>
    %rest = nn.sub %end, %G : tensor<1x9xf64>, tensor<40x9xf64>
    %re = nn.exp %rest : tensor<40x9xf64>
    %kx = nn.mul %kt, %re : tensor<40x9xf64>, tensor<40x9xf64>
    %kv = nn.dot %kx, %vt contract [0] x [0] : tensor<40x9xf64>, tensor<40x24xf64>
    %de = nn.exp %end : tensor<1x9xf64>
    %col = nn.reshape %de : tensor<1x9xf64> -> tensor<9x1xf64>
    %sd = nn.mul %col, %S : tensor<9x1xf64>, tensor<9x24xf64>
    %next = nn.add %sd, %kv : tensor<9x24xf64>, tensor<9x24xf64>
    rec.yield %o, %y1, %y2, %next : tensor<40x24xf64>, tensor<40x9xf64>, tensor<40x9xf64>, tensor<9x24xf64>
  } -> tensor<?x?x2x24xf64>, tensor<?x?x2x9xf64>, tensor<?x?x2x9xf64>, tensor<?x2x9x24xf64>
  return %o#0, %o#1, %o#2, %o#3 : tensor<?x?x2x24xf64>, tensor<?x?x2x9xf64>, tensor<?x?x2x9xf64>, tensor<?x2x9x24xf64>
}

func.func @tiles_scalar_gate(%g: tensor<?x?x1x1xf64>, %x: tensor<?x?x1x6xf64>, %y: tensor<?x?x1x6xf64>)
    -> (tensor<?x?x1x32xf64>, tensor<?x?x1x6xf64>, tensor<?x?x1x6xf64>, tensor<?x?x1x6xf64>, tensor<?x?x1x6xf64>, tensor<?x?x1x6xf64>) {
  %o:6 = rec.scan chunk 32 (%g, %x, %y : tensor<?x?x1x1xf64>, tensor<?x?x1x6xf64>, tensor<?x?x1x6xf64>)
      kinds [0, 0, 0] out_kinds [0, 0, 0, 0, 0, 0] states 0 {
  ^bb0(%gt: tensor<32x1xf64>, %a: tensor<32x6xf64>, %b: tensor<32x6xf64>):
    %soft = nn.softplus %gt : tensor<32x1xf64>
    %gate = nn.neg %soft : tensor<32x1xf64>
    %G = rec.cumsum %gate exclusive : tensor<32x1xf64>
    %H = rec.cumsum %gate : tensor<32x1xf64>
    %M = rec.decay_scores %a, %b gates %G, %H at [1] x [1] : (tensor<32x6xf64>, tensor<32x6xf64>, tensor<32x1xf64>, tensor<32x1xf64>) -> tensor<32x32xf64>
    %plain = rec.decay_scores %a, %b at [1] x [0] : (tensor<32x6xf64>, tensor<32x6xf64>) -> tensor<32x32xf64>
    %c = nn.constant 0.1 : tensor<f64>
    %Ms = nn.mul %M, %c : tensor<32x32xf64>, tensor<f64>
    %n = rec.solve_unit_lower %Ms, %a : tensor<32x32xf64>, tensor<32x6xf64> -> tensor<32x6xf64>
    %nt = rec.solve_unit_lower transposed %Ms, %a : tensor<32x32xf64>, tensor<32x6xf64> -> tensor<32x6xf64>
    %mix = rec.decay_mix %plain, %b gates %G, %H at [1] x [1] : (tensor<32x32xf64>, tensor<32x6xf64>, tensor<32x1xf64>, tensor<32x1xf64>) -> tensor<32x6xf64>
    %mixt = rec.decay_mix transposed %plain, %b at [1] x [0] : (tensor<32x32xf64>, tensor<32x6xf64>) -> tensor<32x6xf64>
    %rev = rec.cumsum %a reverse exclusive : tensor<32x6xf64>
    %low = rec.strictly_lower %plain : tensor<32x32xf64>
    rec.yield %low, %n, %nt, %mix, %mixt, %rev : tensor<32x32xf64>, tensor<32x6xf64>, tensor<32x6xf64>, tensor<32x6xf64>, tensor<32x6xf64>, tensor<32x6xf64>
  } -> tensor<?x?x1x32xf64>, tensor<?x?x1x6xf64>, tensor<?x?x1x6xf64>, tensor<?x?x1x6xf64>, tensor<?x?x1x6xf64>, tensor<?x?x1x6xf64>
  return %o#0, %o#1, %o#2, %o#3, %o#4, %o#5 : tensor<?x?x1x32xf64>, tensor<?x?x1x6xf64>, tensor<?x?x1x6xf64>, tensor<?x?x1x6xf64>, tensor<?x?x1x6xf64>, tensor<?x?x1x6xf64>
}

// Two adds and two reads a token, in between each other.
func.func @several_events(%g: tensor<?x?x1x4xf64>, %q: tensor<?x?x1x8xf64>, %k: tensor<?x?x1x8xf64>)
    -> (tensor<?x?x1x80xf64>, tensor<?x?x1x8xf64>, tensor<?x?x1x8xf64>) {
  %o:3 = rec.scan chunk 20 (%g, %q, %k : tensor<?x?x1x4xf64>, tensor<?x?x1x8xf64>, tensor<?x?x1x8xf64>)
      kinds [0, 0, 0] out_kinds [0, 0, 0] states 0 {
  ^bb0(%gt: tensor<20x4xf64>, %qt: tensor<20x8xf64>, %kt: tensor<20x8xf64>):
    %soft = nn.softplus %gt : tensor<20x4xf64>
    %gate = nn.neg %soft : tensor<20x4xf64>
    %G = rec.cumsum %gate : tensor<20x4xf64>
    %r = nn.reshape %G : tensor<20x4xf64> -> tensor<20x1x4xf64>
    %z = nn.constant 0.0 : tensor<20x2x4xf64>
    %G2 = nn.add %r, %z : tensor<20x1x4xf64>, tensor<20x2x4xf64>
    %Gr = nn.reshape %G2 : tensor<20x2x4xf64> -> tensor<40x4xf64>
    %q2 = nn.reshape %qt : tensor<20x8xf64> -> tensor<40x4xf64>
    %k2 = nn.reshape %kt : tensor<20x8xf64> -> tensor<40x4xf64>
    %P = rec.decay_scores %q2, %k2 gates %Gr, %Gr at [1, 3] x [0, 2] : (tensor<40x4xf64>, tensor<40x4xf64>, tensor<40x4xf64>, tensor<40x4xf64>) -> tensor<40x40xf64>
    %y = rec.decay_mix %P, %k2 gates %Gr, %Gr at [1, 3] x [0, 2] : (tensor<40x40xf64>, tensor<40x4xf64>, tensor<40x4xf64>, tensor<40x4xf64>) -> tensor<40x4xf64>
    %t = rec.decay_mix transposed %P, %q2 gates %Gr, %Gr at [1, 3] x [0, 2] : (tensor<40x40xf64>, tensor<40x4xf64>, tensor<40x4xf64>, tensor<40x4xf64>) -> tensor<40x4xf64>
    %Po = nn.reshape %P : tensor<40x40xf64> -> tensor<20x80xf64>
    %yo = nn.reshape %y : tensor<40x4xf64> -> tensor<20x8xf64>
    %to = nn.reshape %t : tensor<40x4xf64> -> tensor<20x8xf64>
    rec.yield %Po, %yo, %to : tensor<20x80xf64>, tensor<20x8xf64>, tensor<20x8xf64>
  } -> tensor<?x?x1x80xf64>, tensor<?x?x1x8xf64>, tensor<?x?x1x8xf64>
  return %o#0, %o#1, %o#2 : tensor<?x?x1x80xf64>, tensor<?x?x1x8xf64>, tensor<?x?x1x8xf64>
}

// A value per row; states that start anew at about half of the tokens.
func.func @resets(%k: tensor<?x?x2x5xf64>, %f: tensor<?x?x2xf64>, %i: tensor<?x2x5xf64>)
    -> (tensor<?x?x2x5xf64>, tensor<?x?x2x5xf64>) {
  %o:4 = rec.scan chunk 1 (%k, %f, %i : tensor<?x?x2x5xf64>, tensor<?x?x2xf64>, tensor<?x2x5xf64>)
      kinds [0, 0, 4] out_kinds [0, 0] states 2 {
  ^bb0(%kt: tensor<5xf64>, %ft: tensor<f64>, %it: tensor<5xf64>, %S: tensor<5xf64>, %R: tensor<5xf64>):
    %zero = nn.constant 0.0 : tensor<f64>
    %begins = nn.greater %ft, %zero : tensor<f64>, tensor<f64>
    %s0 = rec.reset %S, %begins : tensor<5xf64>, tensor<f64>
    %r0 = rec.reset %R, %begins to %it : tensor<5xf64>, tensor<f64>, tensor<5xf64>
    %s1 = nn.add %s0, %kt : tensor<5xf64>, tensor<5xf64>
    %r1 = nn.add %r0, %kt : tensor<5xf64>, tensor<5xf64>
    rec.yield %s1, %r1, %s1, %r1 : tensor<5xf64>, tensor<5xf64>, tensor<5xf64>, tensor<5xf64>
  } -> tensor<?x?x2x5xf64>, tensor<?x?x2x5xf64>, tensor<?x2x5xf64>, tensor<?x2x5xf64>
  return %o#0, %o#1 : tensor<?x?x2x5xf64>, tensor<?x?x2x5xf64>
}

// States that the last chunk only reads; all rows of the batch start alike.
func.func @chunk_update(%k: tensor<?x?x2x3xf64>, %s0: tensor<2x3x3xf64>)
    -> (tensor<?x?x2x3xf64>, tensor<?x2x3x3xf64>, tensor<?x2x3x3xf64>) {
  %o:3 = rec.scan chunk 4 (%k : tensor<?x?x2x3xf64>)
      init (%s0 : tensor<2x3x3xf64>) kinds [0] out_kinds [0] states 2 {
  ^bb0(%kt: tensor<4x3xf64>, %S: tensor<3x3xf64>, %M: tensor<3x3xf64>):
    %o = nn.dot %kt, %S contract [1] x [1] : tensor<4x3xf64>, tensor<3x3xf64>
    %t = nn.tanh %o : tensor<4x3xf64>
    %g = nn.dot %t, %kt contract [0] x [0] : tensor<4x3xf64>, tensor<4x3xf64>
    %m = nn.add %g, %M : tensor<3x3xf64>, tensor<3x3xf64>
    %u = nn.add %S, %m : tensor<3x3xf64>, tensor<3x3xf64>
    %sq = nn.mul %u, %u : tensor<3x3xf64>, tensor<3x3xf64>
    %n = nn.reduce_sum %sq [1] : tensor<3x3xf64>
    %one = nn.constant 1.0 : tensor<f64>
    %n1 = nn.add %n, %one : tensor<3x1xf64>, tensor<f64>
    %r = nn.rsqrt %n1 : tensor<3x1xf64>
    %w = nn.mul %u, %r : tensor<3x3xf64>, tensor<3x1xf64>
    %s1 = rec.unless_last %w, %S : tensor<3x3xf64>
    %m1 = rec.unless_last %m, %M : tensor<3x3xf64>
    rec.yield %o, %s1, %m1 : tensor<4x3xf64>, tensor<3x3xf64>, tensor<3x3xf64>
  } -> tensor<?x?x2x3xf64>, tensor<?x2x3x3xf64>, tensor<?x2x3x3xf64>
  return %o#0, %o#1, %o#2 : tensor<?x?x2x3xf64>, tensor<?x2x3x3xf64>, tensor<?x2x3x3xf64>
}

func.func @chunk_update_reverse(%k: tensor<?x?x2x3xf64>, %s0: tensor<2x3x3xf64>)
    -> (tensor<?x?x2x3xf64>, tensor<?x2x3x3xf64>, tensor<?x2x3x3xf64>) {
  %o:3 = rec.scan reverse chunk 4 (%k : tensor<?x?x2x3xf64>)
      init (%s0 : tensor<2x3x3xf64>) kinds [0] out_kinds [0] states 2 {
  ^bb0(%kt: tensor<4x3xf64>, %S: tensor<3x3xf64>, %M: tensor<3x3xf64>):
    %o = nn.dot %kt, %S contract [1] x [1] : tensor<4x3xf64>, tensor<3x3xf64>
    %t = nn.tanh %o : tensor<4x3xf64>
    %g = nn.dot %t, %kt contract [0] x [0] : tensor<4x3xf64>, tensor<4x3xf64>
    %m = nn.add %g, %M : tensor<3x3xf64>, tensor<3x3xf64>
    %u = nn.add %S, %m : tensor<3x3xf64>, tensor<3x3xf64>
    %sq = nn.mul %u, %u : tensor<3x3xf64>, tensor<3x3xf64>
    %n = nn.reduce_sum %sq [1] : tensor<3x3xf64>
    %one = nn.constant 1.0 : tensor<f64>
    %n1 = nn.add %n, %one : tensor<3x1xf64>, tensor<f64>
    %r = nn.rsqrt %n1 : tensor<3x1xf64>
    %w = nn.mul %u, %r : tensor<3x3xf64>, tensor<3x1xf64>
    %s1 = rec.unless_last %w, %S : tensor<3x3xf64>
    %m1 = rec.unless_last %m, %M : tensor<3x3xf64>
    rec.yield %o, %s1, %m1 : tensor<4x3xf64>, tensor<3x3xf64>, tensor<3x3xf64>
  } -> tensor<?x?x2x3xf64>, tensor<?x2x3x3xf64>, tensor<?x2x3x3xf64>
  return %o#0, %o#1, %o#2 : tensor<?x?x2x3xf64>, tensor<?x2x3x3xf64>, tensor<?x2x3x3xf64>
}

// Every third token, by a mask that turns round, the state takes the product; else it grows.
func.func @marked_steps(%k: tensor<?x?x2x5xf64>) -> (tensor<?x?x2x5xf64>, tensor<?x2x5xf64>) {
  %o:3 = rec.scan chunk 1 (%k : tensor<?x?x2x5xf64>) kinds [0] out_kinds [0] states 2 {
  ^bb0(%kt: tensor<5xf64>, %S: tensor<5xf64>, %M: tensor<3xf64>):
    %front = nn.slice %M dim 0 from 0 step 1 : tensor<3xf64> -> tensor<2xf64>
    %shifted = nn.pad %front dim 0 from 1 step 1 : tensor<2xf64> -> tensor<3xf64>
    %one = nn.constant 1.0 : tensor<1xf64>
    %first = nn.pad %one dim 0 from 0 step 1 : tensor<1xf64> -> tensor<3xf64>
    %filled = nn.add %shifted, %first : tensor<3xf64>, tensor<3xf64>
    %zero = nn.constant 0.0 : tensor<3xf64>
    %m = rec.when %M, %zero, %filled : tensor<3xf64>, tensor<3xf64>
    %p = nn.mul %kt, %S : tensor<5xf64>, tensor<5xf64>
    %a = nn.add %kt, %S : tensor<5xf64>, tensor<5xf64>
    %s = rec.when %M, %p, %a : tensor<3xf64>, tensor<5xf64>
    %u = nn.tanh %s : tensor<5xf64>
    rec.yield %u, %s, %m : tensor<5xf64>, tensor<5xf64>, tensor<3xf64>
  } -> tensor<?x?x2x5xf64>, tensor<?x2x5xf64>, tensor<?x2x3xf64>
  return %o#0, %o#1 : tensor<?x?x2x5xf64>, tensor<?x2x5xf64>
}
