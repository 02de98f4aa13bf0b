//===- Passes.td - From chunk scans to tile programs -------*- tablegen -*-===//
#ifndef TIDEGATE_PASSES_TILE
#define TIDEGATE_PASSES_TILE

include "mlir/Pass/PassBase.td"

def RecToTile : Pass<"rec-to-tile", "::mlir::ModuleOp"> {
  let summary = "Bodies of chunk scans become statements of a block of threads";
  let description = [{
    Cuts the body of each `rec.scan` with chunks into `tile.compute` statements. A
    value gets a statement of its own when a product, a sum along rows or the scan
    itself needs it in memory, or when computing it again would cost more than
    reading it; everything else is computed inside the statement that uses it, a
    product inside the element-wise chain that ends it. Operands of products are
    kept as `element`, all else as f32; a value with both uses is kept twice.

    Before that, products under a decay of one number per row become plain products
    and `tile.causal`, and triangular solves a product with the inverse.

    Example: tests/passes/Tile/rec-to-tile.mlir.
  }];
  let options = [Option<"bf16", "bf16", "bool", "false", "Operands of products in bfloat16, not float">,
                 Option<"order", "order", "::tidegate::tile::TileOrder", "::tidegate::tile::TileOrder::AsWritten",
                        "In which order loads and statements come", [{llvm::cl::values(
      clEnumValN(::tidegate::tile::TileOrder::AsWritten, "as-written", "as written, loads side by side before them"),
      clEnumValN(::tidegate::tile::TileOrder::FewestBytes, "fewest-bytes", "little lives at a time"),
      clEnumValN(::tidegate::tile::TileOrder::LateLoads, "late-loads", "the same, with loads before their use"),
      clEnumValN(::tidegate::tile::TileOrder::Streams, "streams", "the same, with smaller operands streamed"),
      clEnumValN(::tidegate::tile::TileOrder::Sparing, "sparing", "the same, with whatever saves bytes"))}]>];
  let dependentDialects = ["::tidegate::nn::NnDialect", "::tidegate::rec::RecDialect", "::tidegate::tile::TileDialect"];
}

def TileCut : Pass<"tile-cut", "::mlir::ModuleOp"> {
  let summary = "Chunk scans that do not fit a block's shared memory become several";
  let description = [{
    A chunk scan without states whose tile form needs more than `bytes` of shared
    memory in every order becomes a sequence of scans, each with as many of its
    products as fit. Values that products have made, and a later scan needs, pass
    through memory, one matrix a step, in the type in which the whole scan would keep
    them; what needs no product is computed again. A scan that fits stays, and so
    does one of which not even one product fits.

    Example: tests/passes/Tile/tile-cut.mlir.
  }];
  let options = [Option<"bf16", "bf16", "bool", "false", "Operands of products in bfloat16, not float">,
                 Option<"bytes", "bytes", "int64_t", "::tidegate::tile::kBlockBytes", "Shared memory of a block">];
  let dependentDialects = ["::tidegate::nn::NnDialect", "::tidegate::rec::RecDialect", "::tidegate::tile::TileDialect"];
}

def TilePlace : Pass<"tile-place", "::mlir::ModuleOp"> {
  let summary = "Offsets in shared memory, and barriers";
  let description = [{
    Gives every value in shared memory its bytes: values share memory when they do
    not live at the same time. Puts a `tile.barrier` before each statement that
    touches bytes which another has written, or overwrites bytes that another has
    read, since the last barrier. The scan gets `tile.shared_bytes`.

    Example: tests/passes/Tile/tile-place.mlir.
  }];
  let dependentDialects = ["::tidegate::tile::TileDialect"];
}

#endif
