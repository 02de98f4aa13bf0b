// RUN: tidegate-opt %s -autodiff=functions=f -autodiff=functions=f.bwd | FileCheck %s

// A backward is a function like any other: f.bwd takes x and dy, so its own
// backward gives the cotangents of both. d(dy 3x^2) = 6 x dy dx + 3x^2 d(dy).

// CHECK-LABEL: func.func private @f.bwd.bwd(
// CHECK-SAME:    %{{[^:]*}}: tensor<4xf64>, %{{[^:]*}}: tensor<4xf64>, %{{[^:]*}}: tensor<4xf64>)
// CHECK-SAME:    -> (tensor<4xf64>, tensor<4xf64>)
func.func @f(%x: tensor<4xf64>) -> tensor<4xf64> {
  %x2 = nn.mul %x, %x : tensor<4xf64>, tensor<4xf64>
  %y = nn.mul %x2, %x : tensor<4xf64>, tensor<4xf64>
  return %y : tensor<4xf64>
}
