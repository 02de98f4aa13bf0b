// RUN: tidegate-opt %s -rec-narrow-values=elements=512 -split-input-file | FileCheck %s
// RUN: tidegate-opt %s -rec-narrow-values="elements=512 thorough" -split-input-file | FileCheck %s --check-prefix=THOROUGH

// A state of 64 x 16 is two of 32 x 16: values, states and outputs have twice the heads, keys stay and are shared.

// CHECK-LABEL: func.func @two_slabs
// CHECK-SAME: %[[K:.*]]: tensor<?x?x2x16xf32>, %[[V:.*]]: tensor<?x?x2x64xf32>, %[[S0:.*]]: tensor<2x64x16xf32>
// CHECK-DAG: %[[NARROW:.*]] = nn.reshape %[[V]] : tensor<?x?x2x64xf32> -> tensor<?x?x4x32xf32>
// CHECK-DAG: %[[FIRST:.*]] = nn.reshape %[[S0]] : tensor<2x64x16xf32> -> tensor<4x32x16xf32>
// CHECK: %[[O:.*]]:3 = rec.scan save_states chunk 64(%[[K]], %[[NARROW]] : {{.*}}) init(%[[FIRST]] : tensor<4x32x16xf32>)
// CHECK: ^bb0(%{{.*}}: tensor<64x16xf32>, %{{.*}}: tensor<64x32xf32>, %{{.*}}: tensor<32x16xf32>)
// CHECK-DAG: nn.reshape %[[O]]#0 : tensor<?x?x4x32xf32> -> tensor<?x?x2x64xf32>
// CHECK-DAG: nn.reshape %[[O]]#1 : tensor<?x4x32x16xf32> -> tensor<?x2x64x16xf32>
// CHECK-DAG: nn.reshape %[[O]]#2 : tensor<?x?x4x32x16xf32> -> tensor<?x?x2x64x16xf32>
func.func @two_slabs(%k: tensor<?x?x2x16xf32>, %v: tensor<?x?x2x64xf32>, %s0: tensor<2x64x16xf32>)
    -> (tensor<?x?x2x64xf32>, tensor<?x2x64x16xf32>, tensor<?x?x2x64x16xf32>) {
  %o:3 = rec.scan save_states chunk 64 (%k, %v : tensor<?x?x2x16xf32>, tensor<?x?x2x64xf32>) init (%s0 : tensor<2x64x16xf32>)
      kinds [0, 0] out_kinds [0] states 1 {
  ^bb0(%kt: tensor<64x16xf32>, %vt: tensor<64x64xf32>, %S: tensor<64x16xf32>):
    %ks = nn.dot %kt, %S contract [1] x [1] : tensor<64x16xf32>, tensor<64x16xf32>
    %n = nn.sub %vt, %ks : tensor<64x64xf32>, tensor<64x64xf32>
    %kv = nn.dot %n, %kt contract [0] x [0] : tensor<64x64xf32>, tensor<64x16xf32>
    %next = nn.add %S, %kv : tensor<64x16xf32>, tensor<64x16xf32>
    rec.yield %n, %next : tensor<64x64xf32>, tensor<64x16xf32>
  } -> tensor<?x?x2x64xf32>, tensor<?x2x64x16xf32>, tensor<?x?x2x64x16xf32>
  return %o#0, %o#1, %o#2 : tensor<?x?x2x64xf32>, tensor<?x2x64x16xf32>, tensor<?x?x2x64x16xf32>
}

// -----

// Rows of a state that meet stay together: here the output sums over them.

// CHECK-LABEL: func.func @rows_meet
// CHECK-NOT: nn.reshape
// CHECK: tensor<64x16xf32>)
func.func @rows_meet(%k: tensor<?x?x2x16xf32>, %v: tensor<?x?x2x64xf32>) -> tensor<?x?x2x16xf32> {
  %o, %s = rec.scan chunk 64 (%k, %v : tensor<?x?x2x16xf32>, tensor<?x?x2x64xf32>)
      kinds [0, 0] out_kinds [0] states 1 {
  ^bb0(%kt: tensor<64x16xf32>, %vt: tensor<64x64xf32>, %S: tensor<64x16xf32>):
    %ot = nn.dot %vt, %S contract [1] x [0] : tensor<64x64xf32>, tensor<64x16xf32>
    %kv = nn.dot %vt, %kt contract [0] x [0] : tensor<64x64xf32>, tensor<64x16xf32>
    %next = nn.add %S, %kv : tensor<64x16xf32>, tensor<64x16xf32>
    rec.yield %ot, %next : tensor<64x16xf32>, tensor<64x16xf32>
  } -> tensor<?x?x2x16xf32>, tensor<?x2x64x16xf32>
  return %o : tensor<?x?x2x16xf32>
}

// -----

// Under decays of the values each has a system of its own: gates, factor and right side are cut with the state, the
// matrix is shared. A row for the whole step becomes one per slab.

// CHECK-LABEL: func.func @solve_under_decay
// CHECK: rec.scan chunk 64
// CHECK: ^bb0(%{{.*}}: tensor<64x16xf32>, %{{.*}}: tensor<64x32xf32>, %{{.*}}: tensor<64x32xf32>, %{{.*}}: tensor<64x64xf32>, %{{.*}}: tensor<1x32xf32>, %{{.*}}: tensor<32x16xf32>)
// CHECK: rec.decay_solve {{.*}} : (tensor<64x64xf32>, tensor<64x32xf32>, tensor<64x32xf32>, tensor<64x32xf32>) -> tensor<64x32xf32>
// CHECK: nn.reshape %{{.*}} : tensor<1x32xf32> -> tensor<32x1xf32>
func.func @solve_under_decay(%k: tensor<?x?x2x16xf32>, %v: tensor<?x?x2x64xf32>, %g: tensor<?x?x2x64xf32>,
    %m: tensor<?x?x2x64x64xf32>, %d: tensor<?x?x2x1x64xf32>) -> tensor<?x?x2x64xf32> {
  %o, %s = rec.scan chunk 64 (%k, %v, %g, %m, %d : tensor<?x?x2x16xf32>, tensor<?x?x2x64xf32>, tensor<?x?x2x64xf32>, tensor<?x?x2x64x64xf32>, tensor<?x?x2x1x64xf32>)
      kinds [0, 0, 0, 1, 1] out_kinds [0] states 1 {
  ^bb0(%kt: tensor<64x16xf32>, %vt: tensor<64x64xf32>, %gt: tensor<64x64xf32>, %mt: tensor<64x64xf32>, %dt: tensor<1x64xf32>, %S: tensor<64x16xf32>):
    %ks = nn.dot %kt, %S contract [1] x [1] : tensor<64x16xf32>, tensor<64x16xf32>
    %y = nn.sub %vt, %ks : tensor<64x64xf32>, tensor<64x64xf32>
    %n = rec.decay_solve %mt, %y gates %gt, %gt at [1] x [1]
        : (tensor<64x64xf32>, tensor<64x64xf32>, tensor<64x64xf32>, tensor<64x64xf32>) -> tensor<64x64xf32>
    %kv = nn.dot %n, %kt contract [0] x [0] : tensor<64x64xf32>, tensor<64x16xf32>
    %column = nn.reshape %dt : tensor<1x64xf32> -> tensor<64x1xf32>
    %decayed = nn.mul %S, %column : tensor<64x16xf32>, tensor<64x1xf32>
    %next = nn.add %decayed, %kv : tensor<64x16xf32>, tensor<64x16xf32>
    rec.yield %n, %next : tensor<64x64xf32>, tensor<64x16xf32>
  } -> tensor<?x?x2x64xf32>, tensor<?x2x64x16xf32>
  return %o : tensor<?x?x2x64xf32>
}

// -----

// Rows of several events a step do not follow the heads in memory, and a second state is there: both alone say no, unless
// it is wanted thoroughly. Then the rows are transposed, before the scan and behind it.

// CHECK-LABEL: func.func @thorough
// CHECK-NOT: nn.transpose
// CHECK: tensor<64x16xf32>, %{{.*}}: tensor<64x16xf32>):
// THOROUGH-LABEL: func.func @thorough
// THOROUGH-SAME: %[[K:.*]]: tensor<?x?x2x32x16xf32>, %[[V:.*]]: tensor<?x?x2x32x64xf32>
// THOROUGH: %[[APART:.*]] = nn.reshape %[[V]] : tensor<?x?x2x32x64xf32> -> tensor<?x?x2x32x2x32xf32>
// THOROUGH: %[[FIRST:.*]] = nn.transpose %[[APART]] [0, 1, 2, 4, 3, 5]
// THOROUGH: %[[NARROW:.*]] = nn.reshape %[[FIRST]] : tensor<?x?x2x2x32x32xf32> -> tensor<?x?x4x32x32xf32>
// THOROUGH: %[[O:.*]]:3 = rec.scan chunk 16({{.*}}%[[NARROW]] : {{.*}}states 2
// THOROUGH: ^bb0({{.*}}tensor<32x16xf32>, %{{.*}}: tensor<32x16xf32>):
// THOROUGH: %[[BACK:.*]] = nn.reshape %[[O]]#0 : tensor<?x?x4x32x32xf32> -> tensor<?x?x2x2x32x32xf32>
// THOROUGH: nn.transpose %[[BACK]] [0, 1, 2, 4, 3, 5]
func.func @thorough(%k: tensor<?x?x2x32x16xf32>, %v: tensor<?x?x2x32x64xf32>, %x: tensor<?x?x2xf32>)
    -> (tensor<?x?x2x32x64xf32>, tensor<?x2x64x16xf32>) {
  %o:3 = rec.scan chunk 16 (%x, %k, %v : tensor<?x?x2xf32>, tensor<?x?x2x32x16xf32>, tensor<?x?x2x32x64xf32>)
      kinds [0, 1, 1] out_kinds [1] states 2 {
  ^bb0(%xt: tensor<16xf32>, %kt: tensor<32x16xf32>, %vt: tensor<32x64xf32>, %S: tensor<64x16xf32>, %R: tensor<64x16xf32>):
    %ks = nn.dot %kt, %S contract [1] x [1] : tensor<32x16xf32>, tensor<64x16xf32>
    %n = nn.sub %vt, %ks : tensor<32x64xf32>, tensor<32x64xf32>
    %kv = nn.dot %n, %kt contract [0] x [0] : tensor<32x64xf32>, tensor<32x16xf32>
    %next = nn.add %S, %kv : tensor<64x16xf32>, tensor<64x16xf32>
    %sum = nn.add %R, %S : tensor<64x16xf32>, tensor<64x16xf32>
    rec.yield %n, %next, %sum : tensor<32x64xf32>, tensor<64x16xf32>, tensor<64x16xf32>
  } -> tensor<?x?x2x32x64xf32>, tensor<?x2x64x16xf32>, tensor<?x2x64x16xf32>
  return %o#0, %o#2 : tensor<?x?x2x32x64xf32>, tensor<?x2x64x16xf32>
}
