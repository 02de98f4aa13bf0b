// RUN: tidegate-opt %s -split-input-file -verify-diagnostics

func.func @load_c1(%q: tensor<?x?x1x16xf32>) {
  %o = rec.scan chunk 64 (%q : tensor<?x?x1x16xf32>) kinds [0] out_kinds [0] states 0 {
  ^bb0(%qt: tensor<64x16xf32>):
    %a = nn.neg %qt : tensor<64x16xf32>
    // expected-error @below {{expects an operand of the scan, but got another value}}
    %b = tile.load %a at <shared, f32> : tensor<64x16xf32>
    rec.yield %b : tensor<64x16xf32>
  } -> tensor<?x?x1x16xf32>
  return
}

// -----

func.func @load_c2(%q: tensor<?x?x1x16xf32>) {
  %o = rec.scan chunk 64 (%q : tensor<?x?x1x16xf32>) kinds [0] out_kinds [0] states 0 {
  ^bb0(%qt: tensor<64x16xf32>):
    // expected-error @below {{expects a place in shared memory, but got}}
    %b = tile.load %qt at <registers, f32> : tensor<64x16xf32>
    rec.yield %b : tensor<64x16xf32>
  } -> tensor<?x?x1x16xf32>
  return
}

// -----

func.func @compute_c1(%a: tensor<16x16xf32>) {
  // expected-error @below {{has 1 results, but 2 places}}
  %b = tile.compute elements at [#tile.place<shared, f32>, #tile.place<shared, f32>] {
    tile.yield %a : tensor<16x16xf32>
  } : tensor<16x16xf32>
  return
}

// -----

func.func @compute_c2(%a: tensor<16x16xf32>) {
  // expected-error @below {{of form elements cannot hold a product}}
  %b = tile.compute elements at [#tile.place<shared, f32>] {
    // expected-note @below {{this one}}
    %c = nn.dot %a, %a contract [1] x [0] : tensor<16x16xf32>, tensor<16x16xf32>
    tile.yield %c : tensor<16x16xf32>
  } : tensor<16x16xf32>
  return
}

// -----

func.func @stream_c1(%q: tensor<?x?x1x64xf32>, %s: tensor<?x?x1x32x24xf32>) {
  %o = rec.scan chunk 64 (%q, %s : tensor<?x?x1x64xf32>, tensor<?x?x1x32x24xf32>) kinds [0, 1] out_kinds [0] states 0 {
  ^bb0(%qt: tensor<64x64xf32>, %st: tensor<32x24xf32>):
    // expected-error @below {{expects an operand of the scan whose sides are multiples of 16, but got}}
    %t = tile.stream %st along 1 slices 8 at <shared, bf16, swizzled = true> : tensor<32x24xf32>
    %y = nn.dot %qt, %qt contract [1] x [1] : tensor<64x64xf32>, tensor<64x64xf32>
    rec.yield %y : tensor<64x64xf32>
  } -> tensor<?x?x1x64xf32>
  return
}

// -----

func.func @stream_c2(%q: tensor<?x?x1x64xf32>, %s: tensor<?x?x1x32x64xf32>) {
  %o = rec.scan chunk 64 (%q, %s : tensor<?x?x1x64xf32>, tensor<?x?x1x32x64xf32>) kinds [0, 1] out_kinds [0] states 0 {
  ^bb0(%qt: tensor<64x64xf32>, %st: tensor<32x64xf32>):
    // expected-error @below {{expects a swizzled place in shared memory, but got}}
    %t = tile.stream %st along 1 slices 16 at <shared, bf16> : tensor<32x64xf32>
    %y = nn.dot %qt, %t contract [1] x [1] : tensor<64x64xf32>, tensor<32x64xf32>
    rec.yield %y : tensor<64x32xf32>
  } -> tensor<?x?x1x32xf32>
  return
}

// -----

func.func @stream_c3(%q: tensor<?x?x1x64xf32>, %s: tensor<?x?x1x32x64xf32>) {
  %o = rec.scan chunk 64 (%q, %s : tensor<?x?x1x64xf32>, tensor<?x?x1x32x64xf32>) kinds [0, 1] out_kinds [0] states 0 {
  ^bb0(%qt: tensor<64x64xf32>, %st: tensor<32x64xf32>):
    // expected-error @below {{expects slices of a multiple of 16 that divides dimension 1}}
    %t = tile.stream %st along 1 slices 48 at <shared, bf16, swizzled = true> : tensor<32x64xf32>
    %y = nn.dot %qt, %t contract [1] x [1] : tensor<64x64xf32>, tensor<32x64xf32>
    rec.yield %y : tensor<64x32xf32>
  } -> tensor<?x?x1x32xf32>
  return
}

// -----

func.func @stream_c4(%q: tensor<?x?x1x64xf32>, %s: tensor<?x?x1x32x64xf32>) {
  %o = rec.scan chunk 64 (%q, %s : tensor<?x?x1x64xf32>, tensor<?x?x1x32x64xf32>) kinds [0, 1] out_kinds [0] states 0 {
  ^bb0(%qt: tensor<64x64xf32>, %st: tensor<32x64xf32>):
    // expected-error @below {{expects to be the right side of products over dimension 0}}
    %t = tile.stream %st along 0 slices 16 at <shared, bf16, swizzled = true> : tensor<32x64xf32>
    %y = nn.dot %qt, %t contract [1] x [1] : tensor<64x64xf32>, tensor<32x64xf32>
    rec.yield %y : tensor<64x32xf32>
  } -> tensor<?x?x1x32xf32>
  return
}
