// Positions and attention compiled and by the reference: windows below and above
// T, T beyond one block of queries, grouped heads, odd widths. Positions are
// random, some of them negative: a token sees itself in any case.
func.func @positions(%x: tensor<?x?x3xf64>, %first: tensor<?x1xi32>) -> (tensor<?x?xf64>, tensor<?x?x4xf64>) {
  %p, %n = nn.positions %x : tensor<?x?x3xf64>
  %q, %m = nn.positions %x from %first : tensor<?x?x3xf64>, tensor<?x1xi32>
  %r:2 = nn.map rows 2 (%p, %q) operand_rows [true, true] result_rows [true, true] {
  ^bb0(%pr: tensor<i32>, %qr: tensor<i32>):
    %0 = nn.to_float %pr : tensor<i32> -> tensor<f64>
    %1 = nn.to_float %qr : tensor<i32> -> tensor<f64>
    %i = nn.iota : tensor<4xf64>
    %a = nn.mul %1, %i : tensor<f64>, tensor<4xf64>
    nn.yield %0, %a : tensor<f64>, tensor<4xf64>
  } : (tensor<?x?xi32>, tensor<?x?xi32>) -> (tensor<?x?xf64>, tensor<?x?x4xf64>)
  return %r#0, %r#1 : tensor<?x?xf64>, tensor<?x?x4xf64>
}

func.func @next_position(%x: tensor<?x?x3xf64>, %first: tensor<?x1xi32>) -> tensor<?x1xf64> {
  %q, %m = nn.positions %x from %first : tensor<?x?x3xf64>, tensor<?x1xi32>
  %r = nn.map rows 1 (%m) operand_rows [true] result_rows [true] {
  ^bb0(%mr: tensor<1xi32>):
    %0 = nn.to_float %mr : tensor<1xi32> -> tensor<1xf64>
    nn.yield %0 : tensor<1xf64>
  } : (tensor<?x1xi32>) -> tensor<?x1xf64>
  return %r : tensor<?x1xf64>
}

func.func @long_window(%q: tensor<?x?x3x5xf64>, %k: tensor<?x?x3x5xf64>, %v: tensor<?x?x3x7xf64>)
    -> (tensor<?x?x3x7xf64>, tensor<?x?x3xf64>) {
  %o, %l, %nk, %nv = nn.attention %q, %k, %v window 100 : tensor<?x?x3x5xf64>, tensor<?x?x3x5xf64>, tensor<?x?x3x7xf64>
  return %o, %l : tensor<?x?x3x7xf64>, tensor<?x?x3xf64>
}

func.func @one_token(%q: tensor<?x?x2x4xf64>, %k: tensor<?x?x2x4xf64>, %v: tensor<?x?x2x4xf64>) -> tensor<?x?x2x4xf64> {
  %o, %l, %nk, %nv = nn.attention %q, %k, %v window 1 : tensor<?x?x2x4xf64>, tensor<?x?x2x4xf64>, tensor<?x?x2x4xf64>
  return %o : tensor<?x?x2x4xf64>
}

func.func @continued(%q: tensor<?x?x4x6xf64>, %k: tensor<?x?x2x6xf64>, %v: tensor<?x?x2x3xf64>,
                     %pk: tensor<?x8x2x6xf64>, %pv: tensor<?x8x2x3xf64>)
    -> (tensor<?x?x4x3xf64>, tensor<?x8x2x6xf64>, tensor<?x8x2x3xf64>) {
  %o, %l, %nk, %nv = nn.attention %q, %k, %v window 9 after (%pk, %pv : tensor<?x8x2x6xf64>, tensor<?x8x2x3xf64>)
      : tensor<?x?x4x6xf64>, tensor<?x?x2x6xf64>, tensor<?x?x2x3xf64>
  return %o, %nk, %nv : tensor<?x?x4x3xf64>, tensor<?x8x2x6xf64>, tensor<?x8x2x3xf64>
}

func.func @documents(%q: tensor<?x?x2x4xf64>, %k: tensor<?x?x1x4xf64>, %v: tensor<?x?x1x4xf64>, %p: tensor<?x?xi32>,
                     %pk: tensor<?x5x1x4xf64>, %pv: tensor<?x5x1x4xf64>)
    -> (tensor<?x?x2x4xf64>, tensor<?x5x1x4xf64>) {
  %o, %l, %nk, %nv = nn.attention %q, %k, %v window 6 at (%p : tensor<?x?xi32>)
      after (%pk, %pv : tensor<?x5x1x4xf64>, tensor<?x5x1x4xf64>)
      : tensor<?x?x2x4xf64>, tensor<?x?x1x4xf64>, tensor<?x?x1x4xf64>
  return %o, %nk : tensor<?x?x2x4xf64>, tensor<?x5x1x4xf64>
}

func.func @started(%q: tensor<?x?x2x4xf64>, %k: tensor<?x?x1x4xf64>, %v: tensor<?x?x1x4xf64>)
    -> (tensor<?x?x2x4xf64>, tensor<?x29x1x4xf64>, tensor<?x29x1x4xf64>) {
  %o, %l, %nk, %nv = nn.attention %q, %k, %v window 30 : tensor<?x?x2x4xf64>, tensor<?x?x1x4xf64>, tensor<?x?x1x4xf64>
  return %o, %nk, %nv : tensor<?x?x2x4xf64>, tensor<?x29x1x4xf64>, tensor<?x29x1x4xf64>
}

func.func @gradient(%q: tensor<?x?x4x6xf64>, %k: tensor<?x?x2x6xf64>, %v: tensor<?x?x2x3xf64>, %dy: tensor<?x?x4x3xf64>,
                    %dl: tensor<?x?x4xf64>)
    -> (tensor<?x?x4x6xf64>, tensor<?x?x2x6xf64>, tensor<?x?x2x3xf64>) {
  %o, %l, %nk, %nv = nn.attention %q, %k, %v window 19 : tensor<?x?x4x6xf64>, tensor<?x?x2x6xf64>, tensor<?x?x2x3xf64>
  %dq, %dk, %dv, %dpk, %dpv = nn.attention_grad %q, %k, %v, %o, %l, %dy window 19 lse (%dl : tensor<?x?x4xf64>)
      : tensor<?x?x4x6xf64>, tensor<?x?x2x6xf64>, tensor<?x?x2x3xf64>, tensor<?x?x4x3xf64>, tensor<?x?x4xf64>, tensor<?x?x4x3xf64>
  return %dq, %dk, %dv : tensor<?x?x4x6xf64>, tensor<?x?x2x6xf64>, tensor<?x?x2x3xf64>
}

func.func @gradient_of_everything(%q: tensor<?x?x2x4xf64>, %k: tensor<?x?x1x4xf64>, %v: tensor<?x?x1x4xf64>,
                                  %p: tensor<?x?xi32>, %pk: tensor<?x5x1x4xf64>, %pv: tensor<?x5x1x4xf64>,
                                  %dy: tensor<?x?x2x4xf64>, %dl: tensor<?x?x2xf64>)
    -> (tensor<?x?x2x4xf64>, tensor<?x?x1x4xf64>, tensor<?x?x1x4xf64>, tensor<?x5x1x4xf64>, tensor<?x5x1x4xf64>) {
  %o, %l, %nk, %nv = nn.attention %q, %k, %v window 6 at (%p : tensor<?x?xi32>)
      after (%pk, %pv : tensor<?x5x1x4xf64>, tensor<?x5x1x4xf64>)
      : tensor<?x?x2x4xf64>, tensor<?x?x1x4xf64>, tensor<?x?x1x4xf64>
  %dq, %dk, %dv, %dpk, %dpv = nn.attention_grad %q, %k, %v, %o, %l, %dy window 6 lse (%dl : tensor<?x?x2xf64>)
      at (%p : tensor<?x?xi32>) after (%pk, %pv : tensor<?x5x1x4xf64>, tensor<?x5x1x4xf64>)
      : tensor<?x?x2x4xf64>, tensor<?x?x1x4xf64>, tensor<?x?x1x4xf64>, tensor<?x?x2x4xf64>, tensor<?x?x2xf64>, tensor<?x?x2x4xf64>
  return %dq, %dk, %dv, %dpk, %dpv
      : tensor<?x?x2x4xf64>, tensor<?x?x1x4xf64>, tensor<?x?x1x4xf64>, tensor<?x5x1x4xf64>, tensor<?x5x1x4xf64>
}
