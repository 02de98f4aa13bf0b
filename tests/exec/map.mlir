// Maps: every function runs on the CPU and through the reference interpreter.

func.func @rms_norm(%x: tensor<?x?x24xf64>, %w: tensor<24xf64>) -> (tensor<?x?x24xf64>, tensor<24xf64>) {
  %y, %s = nn.map rows 2 (%x, %w) operand_rows [true, false] result_rows [true, false] {
  ^bb0(%a: tensor<24xf64>, %b: tensor<24xf64>):
    %sq = nn.mul %a, %a : tensor<24xf64>, tensor<24xf64>
    %sum = nn.reduce_sum %sq [0] : tensor<24xf64>
    %c = nn.constant 0.041666666666666664 : tensor<f64>
    %mean = nn.mul %sum, %c : tensor<1xf64>, tensor<f64>
    %eps = nn.constant 1.0e-6 : tensor<f64>
    %shifted = nn.add %mean, %eps : tensor<1xf64>, tensor<f64>
    %r = nn.rsqrt %shifted : tensor<1xf64>
    %xr = nn.mul %a, %r : tensor<24xf64>, tensor<1xf64>
    %y0 = nn.mul %xr, %b : tensor<24xf64>, tensor<24xf64>
    nn.yield %y0, %xr : tensor<24xf64>, tensor<24xf64>
  } : (tensor<?x?x24xf64>, tensor<24xf64>) -> (tensor<?x?x24xf64>, tensor<24xf64>)
  return %y, %s : tensor<?x?x24xf64>, tensor<24xf64>
}

func.func @heads(%x: tensor<?x?x24xf64>, %g: tensor<?x?x3x8xf64>) -> (tensor<?x?x3x8xf64>, tensor<?x?x24xf64>, tensor<?x?x8x3xf64>) {
  %y:3 = nn.map rows 2 (%x, %g) operand_rows [true, true] result_rows [true, true, true] {
  ^bb0(%a: tensor<24xf64>, %b: tensor<3x8xf64>):
    %h = nn.reshape %a : tensor<24xf64> -> tensor<3x8xf64>
    %s = nn.sigmoid %b : tensor<3x8xf64>
    %p = nn.mul %h, %s : tensor<3x8xf64>, tensor<3x8xf64>
    %m = nn.reduce_max %p [1] : tensor<3x8xf64>
    %d = nn.sub %p, %m : tensor<3x8xf64>, tensor<3x1xf64>
    %e = nn.exp %d : tensor<3x8xf64>
    %z = nn.reduce_sum %e [0] : tensor<3x8xf64>
    %n = nn.div %e, %z : tensor<3x8xf64>, tensor<1x8xf64>
    %flat = nn.reshape %n : tensor<3x8xf64> -> tensor<24xf64>
    %t = nn.transpose %n [1, 0] : tensor<3x8xf64> -> tensor<8x3xf64>
    nn.yield %n, %flat, %t : tensor<3x8xf64>, tensor<24xf64>, tensor<8x3xf64>
  } : (tensor<?x?x24xf64>, tensor<?x?x3x8xf64>) -> (tensor<?x?x3x8xf64>, tensor<?x?x24xf64>, tensor<?x?x8x3xf64>)
  return %y#0, %y#1, %y#2 : tensor<?x?x3x8xf64>, tensor<?x?x24xf64>, tensor<?x?x8x3xf64>
}

func.func @scalars(%x: tensor<?x?x40xf64>) -> (tensor<?x?x40xf64>, tensor<?x?x40xf64>, tensor<?x?x40xf64>, tensor<?x?x40xf64>) {
  %y:4 = nn.map rows 2 (%x) operand_rows [true] result_rows [true, true, true, true] {
  ^bb0(%a: tensor<40xf64>):
    %c = nn.constant 9.0 : tensor<f64>
    %b = nn.mul %a, %c : tensor<40xf64>, tensor<f64>
    %s = nn.softplus %b : tensor<40xf64>
    %t = nn.tanh %a : tensor<40xf64>
    %cos = nn.cos %b : tensor<40xf64>
    %sin = nn.sin %b : tensor<40xf64>
    %abs = nn.abs %a : tensor<40xf64>
    %i = nn.iota : tensor<40xf64>
    %k = nn.constant 1024.0 : tensor<f64> // exact in f32 too
    %far = nn.mul %a, %k : tensor<40xf64>, tensor<f64>
    %angle = nn.angle %far, %i base 0.7 : tensor<40xf64>, tensor<40xf64>
    %turned = nn.sin %angle : tensor<40xf64>
    %wave = nn.mul %sin, %cos : tensor<40xf64>, tensor<40xf64>
    %waves = nn.mul %wave, %turned : tensor<40xf64>, tensor<40xf64>
    %root = nn.sqrt %abs : tensor<40xf64>
    %log = nn.log %abs : tensor<40xf64>
    %zero = nn.constant 0.0 : tensor<f64>
    %gt = nn.greater %a, %zero : tensor<40xf64>, tensor<f64>
    %sel = nn.select %gt, %root, %log : tensor<40xf64>, tensor<40xf64>, tensor<40xf64>
    %mx = nn.maximum %waves, %a : tensor<40xf64>, tensor<40xf64>
    %mn = nn.minimum %mx, %s : tensor<40xf64>, tensor<40xf64>
    %neg = nn.neg %mn : tensor<40xf64>
    %fin = nn.is_finite %log : tensor<40xf64>
    %sum = nn.add %neg, %fin : tensor<40xf64>, tensor<40xf64>
    nn.yield %s, %t, %sel, %sum : tensor<40xf64>, tensor<40xf64>, tensor<40xf64>, tensor<40xf64>
  } : (tensor<?x?x40xf64>) -> (tensor<?x?x40xf64>, tensor<?x?x40xf64>, tensor<?x?x40xf64>, tensor<?x?x40xf64>)
  return %y#0, %y#1, %y#2, %y#3 : tensor<?x?x40xf64>, tensor<?x?x40xf64>, tensor<?x?x40xf64>, tensor<?x?x40xf64>
}

func.func @cross_entropy(%z: tensor<?x?x7xf64>, %ids: tensor<?x?xi32>) -> (tensor<?x?x7xf64>, tensor<1xf64>, tensor<1xf64>) {
  %y:3 = nn.map rows 2 (%z, %ids) operand_rows [true, true] result_rows [true, false, false] {
  ^bb0(%a: tensor<7xf64>, %i: tensor<i32>):
    %m = nn.reduce_max %a [0] : tensor<7xf64>
    %d = nn.sub %a, %m : tensor<7xf64>, tensor<1xf64>
    %e = nn.exp %d : tensor<7xf64>
    %s = nn.reduce_sum %e [0] : tensor<7xf64>
    %l = nn.log %s : tensor<1xf64>
    %lse = nn.add %l, %m : tensor<1xf64>, tensor<1xf64>
    %p = nn.pick %a, %i : tensor<7xf64>, tensor<i32> -> tensor<1xf64>
    %v = nn.is_index %i : tensor<i32> -> tensor<1xf64>
    %nll = nn.sub %lse, %p : tensor<1xf64>, tensor<1xf64>
    %masked = nn.mul %nll, %v : tensor<1xf64>, tensor<1xf64>
    %hot = nn.place %v, %i : tensor<1xf64>, tensor<i32> -> tensor<7xf64>
    %prob = nn.div %e, %s : tensor<7xf64>, tensor<1xf64>
    %grad = nn.sub %prob, %hot : tensor<7xf64>, tensor<7xf64>
    nn.yield %grad, %masked, %v : tensor<7xf64>, tensor<1xf64>, tensor<1xf64>
  } : (tensor<?x?x7xf64>, tensor<?x?xi32>) -> (tensor<?x?x7xf64>, tensor<1xf64>, tensor<1xf64>)
  return %y#0, %y#1, %y#2 : tensor<?x?x7xf64>, tensor<1xf64>, tensor<1xf64>
}

func.func @ranges(%x: tensor<?x?x6x5xf64>) -> (tensor<?x?x2x5xf64>, tensor<?x?x9x5xf64>, tensor<?x?x1x5xf64>) {
  %y:3 = nn.map rows 2 (%x) operand_rows [true] result_rows [true, true, true] {
  ^bb0(%a: tensor<6x5xf64>):
    %s = nn.slice %a dim 0 from 1 step 3 : tensor<6x5xf64> -> tensor<2x5xf64>
    %e = nn.exp %s : tensor<2x5xf64>
    %p = nn.pad %e dim 0 from 2 step 4 : tensor<2x5xf64> -> tensor<9x5xf64>
    %r = nn.reduce_max %p [0] : tensor<9x5xf64>
    nn.yield %e, %p, %r : tensor<2x5xf64>, tensor<9x5xf64>, tensor<1x5xf64>
  } : (tensor<?x?x6x5xf64>) -> (tensor<?x?x2x5xf64>, tensor<?x?x9x5xf64>, tensor<?x?x1x5xf64>)
  return %y#0, %y#1, %y#2 : tensor<?x?x2x5xf64>, tensor<?x?x9x5xf64>, tensor<?x?x1x5xf64>
}

func.func @no_rows(%x: tensor<3x5xf64>, %c: tensor<f64>) -> (tensor<5x3xf64>, tensor<1x1xf64>) {
  %y:2 = nn.map rows 0 (%x, %c) operand_rows [false, false] result_rows [true, true] {
  ^bb0(%a: tensor<3x5xf64>, %b: tensor<f64>):
    %m = nn.mul %a, %b : tensor<3x5xf64>, tensor<f64>
    %t = nn.transpose %m [1, 0] : tensor<3x5xf64> -> tensor<5x3xf64>
    %s = nn.reduce_sum %m [0, 1] : tensor<3x5xf64>
    nn.yield %t, %s : tensor<5x3xf64>, tensor<1x1xf64>
  } : (tensor<3x5xf64>, tensor<f64>) -> (tensor<5x3xf64>, tensor<1x1xf64>)
  return %y#0, %y#1 : tensor<5x3xf64>, tensor<1x1xf64>
}

func.func @products(%x: tensor<?x?x12xf64>, %w: tensor<7x12xf64>, %u: tensor<7x5xf64>, %dy: tensor<?x?x7xf64>)
    -> (tensor<?x?x7xf64>, tensor<?x?x5xf64>, tensor<7x12xf64>, tensor<?x?x12xf64>) {
  %y = nn.dot %x, %w contract [2] x [1] : tensor<?x?x12xf64>, tensor<7x12xf64>
  %z = nn.dot %y, %u contract [2] x [0] : tensor<?x?x7xf64>, tensor<7x5xf64>
  %dw = nn.dot %dy, %x contract [0, 1] x [0, 1] : tensor<?x?x7xf64>, tensor<?x?x12xf64>
  %dx = nn.dot %dy, %w contract [2] x [0] : tensor<?x?x7xf64>, tensor<7x12xf64>
  return %y, %z, %dw, %dx : tensor<?x?x7xf64>, tensor<?x?x5xf64>, tensor<7x12xf64>, tensor<?x?x12xf64>
}

func.func private @layer(%x: tensor<?x?x8xf64>, %w: tensor<8x8xf64>) -> tensor<?x?x8xf64> {
  %y = nn.dot %x, %w contract [2] x [1] : tensor<?x?x8xf64>, tensor<8x8xf64>
  %z = nn.map rows 2 (%x, %y) operand_rows [true, true] result_rows [true] {
  ^bb0(%a: tensor<8xf64>, %b: tensor<8xf64>):
    %t = nn.tanh %b : tensor<8xf64>
    %s = nn.add %a, %t : tensor<8xf64>, tensor<8xf64>
    nn.yield %s : tensor<8xf64>
  } : (tensor<?x?x8xf64>, tensor<?x?x8xf64>) -> tensor<?x?x8xf64>
  return %z : tensor<?x?x8xf64>
}

func.func @calls_and_tables(%table: tensor<9x8xf64>, %ids: tensor<?x?xi32>, %w: tensor<8x8xf64>)
    -> (tensor<?x?x2x4xf64>, tensor<9x8xf64>, tensor<9x8xf64>) {
  %x = nn.lookup %table, %ids : tensor<9x8xf64>, tensor<?x?xi32> -> tensor<?x?x8xf64>
  %a = func.call @layer(%x, %w) : (tensor<?x?x8xf64>, tensor<8x8xf64>) -> tensor<?x?x8xf64>
  %b = func.call @layer(%a, %w) : (tensor<?x?x8xf64>, tensor<8x8xf64>) -> tensor<?x?x8xf64>
  %g = nn.lookup_grad %b, %ids : tensor<?x?x8xf64>, tensor<?x?xi32> -> tensor<9x8xf64>
  %r = nn.reshape %b : tensor<?x?x8xf64> -> tensor<?x?x2x4xf64>
  return %r, %g, %table : tensor<?x?x2x4xf64>, tensor<9x8xf64>, tensor<9x8xf64>
}

// Two tensors side by side: along the last dimension, along another, and a sum that overlaps; and the sum over rows
// of two side by side.
func.func @beside(%x: tensor<?x?x3x5xf64>, %y: tensor<?x?x3x2xf64>, %z: tensor<?x?x1x5xf64>)
    -> (tensor<?x?x3x7xf64>, tensor<?x?x4x5xf64>, tensor<?x?x3x6xf64>, tensor<3x7xf64>) {
  %r:4 = nn.map rows 2 (%x, %y, %z) operand_rows [true, true, true] result_rows [true, true, true, false] {
  ^bb0(%xr: tensor<3x5xf64>, %yr: tensor<3x2xf64>, %zr: tensor<1x5xf64>):
    %e = nn.exp %xr : tensor<3x5xf64>
    %a = nn.pad %e dim 1 from 2 step 1 : tensor<3x5xf64> -> tensor<3x7xf64>
    %b = nn.pad %yr dim 1 from 0 step 1 : tensor<3x2xf64> -> tensor<3x7xf64>
    %0 = nn.add %a, %b : tensor<3x7xf64>, tensor<3x7xf64>
    %c = nn.pad %xr dim 0 from 0 step 1 : tensor<3x5xf64> -> tensor<4x5xf64>
    %d = nn.pad %zr dim 0 from 3 step 1 : tensor<1x5xf64> -> tensor<4x5xf64>
    %1 = nn.add %c, %d : tensor<4x5xf64>, tensor<4x5xf64>
    %f = nn.pad %xr dim 1 from 0 step 1 : tensor<3x5xf64> -> tensor<3x6xf64>
    %g = nn.pad %yr dim 1 from 4 step 1 : tensor<3x2xf64> -> tensor<3x6xf64>
    %2 = nn.add %f, %g : tensor<3x6xf64>, tensor<3x6xf64>
    %h = nn.pad %yr dim 1 from 5 step 1 : tensor<3x2xf64> -> tensor<3x7xf64>
    %i = nn.pad %xr dim 1 from 0 step 1 : tensor<3x5xf64> -> tensor<3x7xf64>
    %3 = nn.add %h, %i : tensor<3x7xf64>, tensor<3x7xf64>
    nn.yield %0, %1, %2, %3 : tensor<3x7xf64>, tensor<4x5xf64>, tensor<3x6xf64>, tensor<3x7xf64>
  } : (tensor<?x?x3x5xf64>, tensor<?x?x3x2xf64>, tensor<?x?x1x5xf64>)
      -> (tensor<?x?x3x7xf64>, tensor<?x?x4x5xf64>, tensor<?x?x3x6xf64>, tensor<3x7xf64>)
  return %r#0, %r#1, %r#2, %r#3 : tensor<?x?x3x7xf64>, tensor<?x?x4x5xf64>, tensor<?x?x3x6xf64>, tensor<3x7xf64>
}
