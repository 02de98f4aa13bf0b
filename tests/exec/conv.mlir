// Short convolutions compiled and by the reference: an odd number of channels,
// enough of them for several tasks, T below and above the width.
func.func @forward(%x: tensor<?x?x70xf64>, %w: tensor<70x4xf64>) -> tensor<?x?x70xf64> {
  %y, %next = nn.short_conv %x, %w : tensor<?x?x70xf64>, tensor<70x4xf64>
  return %y : tensor<?x?x70xf64>
}

func.func @continued(%x: tensor<?x?x70xf64>, %w: tensor<70x4xf64>, %past: tensor<?x3x70xf64>)
    -> (tensor<?x?x70xf64>, tensor<?x3x70xf64>) {
  %y, %next = nn.short_conv %x, %w after %past : tensor<?x?x70xf64>, tensor<70x4xf64>, tensor<?x3x70xf64>
  return %y, %next : tensor<?x?x70xf64>, tensor<?x3x70xf64>
}

func.func @started(%x: tensor<?x?x3xf64>, %w: tensor<3x2xf64>) -> (tensor<?x?x3xf64>, tensor<?x1x3xf64>) {
  %y, %next = nn.short_conv %x, %w : tensor<?x?x3xf64>, tensor<3x2xf64>
  return %y, %next : tensor<?x?x3xf64>, tensor<?x1x3xf64>
}

func.func @input_grad(%dy: tensor<?x?x70xf64>, %w: tensor<70x4xf64>) -> tensor<?x?x70xf64> {
  %dx, %dpast = nn.short_conv_input_grad %dy, %w : tensor<?x?x70xf64>, tensor<70x4xf64>
  return %dx : tensor<?x?x70xf64>
}

func.func @input_grad_with_edges(%dy: tensor<?x?x5xf64>, %w: tensor<5x20xf64>, %dnext: tensor<?x19x5xf64>)
    -> (tensor<?x?x5xf64>, tensor<?x19x5xf64>) {
  %dx, %dpast = nn.short_conv_input_grad %dy, %w before %dnext : tensor<?x?x5xf64>, tensor<5x20xf64>, tensor<?x19x5xf64>
  return %dx, %dpast : tensor<?x?x5xf64>, tensor<?x19x5xf64>
}

func.func @weight_grad(%x: tensor<?x?x70xf64>, %dy: tensor<?x?x70xf64>) -> tensor<70x4xf64> {
  %dw = nn.short_conv_weight_grad %x, %dy : tensor<?x?x70xf64>, tensor<?x?x70xf64> -> tensor<70x4xf64>
  return %dw : tensor<70x4xf64>
}

func.func @weight_grad_with_past(%x: tensor<?x?x70xf64>, %dy: tensor<?x?x70xf64>, %past: tensor<?x3x70xf64>)
    -> tensor<70x4xf64> {
  %dw = nn.short_conv_weight_grad %x, %dy after %past
      : tensor<?x?x70xf64>, tensor<?x?x70xf64>, tensor<?x3x70xf64> -> tensor<70x4xf64>
  return %dw : tensor<70x4xf64>
}

func.func @in_documents(%x: tensor<?x?x70xf64>, %w: tensor<70x4xf64>, %past: tensor<?x3x70xf64>, %p: tensor<?x?xi32>)
    -> (tensor<?x?x70xf64>, tensor<?x3x70xf64>) {
  %y, %next = nn.short_conv %x, %w after %past at(%p : tensor<?x?xi32>)
      : tensor<?x?x70xf64>, tensor<70x4xf64>, tensor<?x3x70xf64>
  return %y, %next : tensor<?x?x70xf64>, tensor<?x3x70xf64>
}

func.func @input_grad_in_documents(%dy: tensor<?x?x70xf64>, %w: tensor<70x4xf64>, %p: tensor<?x?xi32>)
    -> (tensor<?x?x70xf64>, tensor<?x3x70xf64>) {
  %dx, %dpast = nn.short_conv_input_grad %dy, %w at(%p : tensor<?x?xi32>) : tensor<?x?x70xf64>, tensor<70x4xf64>
  return %dx, %dpast : tensor<?x?x70xf64>, tensor<?x3x70xf64>
}

func.func @weight_grad_in_documents(%x: tensor<?x?x70xf64>, %dy: tensor<?x?x70xf64>, %past: tensor<?x3x70xf64>, %p: tensor<?x?xi32>)
    -> tensor<70x4xf64> {
  %dw = nn.short_conv_weight_grad %x, %dy after %past at(%p : tensor<?x?xi32>)
      : tensor<?x?x70xf64>, tensor<?x?x70xf64>, tensor<?x3x70xf64> -> tensor<70x4xf64>
  return %dw : tensor<70x4xf64>
}
