//===- TileOps.td - The tile dialect -----------------------*- tablegen -*-===//
#ifndef TIDEGATE_TILE_OPS
#define TIDEGATE_TILE_OPS

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Tile_Dialect : Dialect {
  let name = "tile";
  let cppNamespace = "::tidegate::tile";
  let summary = "What a block of threads does in one step of a chunk scan, and where values lie";
  let description = [{
    The body of a `rec.scan` in tile form: operands are loaded, every statement
    computes values that lie somewhere (shared memory, registers, a result), and
    barriers stand where one thread reads what another wrote. The scan itself
    still says which work there is: one block for each batch row and head, or for
    each batch row, head and step if there are no states.

    Values keep the types of the mathematics (`tensor<64x32xf32>`); a place says
    with which element type and layout they are kept.
  }];
  let dependentDialects = ["::tidegate::nn::NnDialect", "::tidegate::rec::RecDialect"];
  let useDefaultAttributePrinterParser = 1;
}

class Tile_Op<string mnemonic, list<Trait> traits = []> : Op<Tile_Dialect, mnemonic, traits>;

def Tile_Float : RankedTensorOf<[F32]>;

//===----------------------------------------------------------------------===//
// Places
//===----------------------------------------------------------------------===//

def Tile_Space : I32EnumAttr<"Space", "where a value lies", [
    I32EnumAttrCase<"Shared", 0, "shared">,
    I32EnumAttrCase<"Registers", 1, "registers">,
    I32EnumAttrCase<"Result", 2, "result">]> {
  let cppNamespace = "::tidegate::tile";
  let genSpecializedAttr = 0;
}
def Tile_SpaceAttr : EnumAttr<Tile_Dialect, Tile_Space, "space"> {
  let assemblyFormat = "$value";
}

def Tile_PlaceAttr : AttrDef<Tile_Dialect, "Place"> {
  let mnemonic = "place";
  let summary = "Where and how a value is kept";
  let description = [{
    - `shared`: in shared memory from byte `offset` on. `swizzled`: a matrix whose
      sides are padded to multiples of 16, its 16-byte units permuted so that the
      tensor cores' matrix loads meet no bank twice; padding reads as zeros.
      Else row-major.
    - `registers`: accumulators that go round the warps of the block.
    - `result`: straight to result `offset` of the scan.

    Example: `#tile.place<shared, bf16, swizzled = true, offset = 8192>`
  }];
  let extraClassDeclaration = [{
    static PlaceAttr of(Space space, ::mlir::Type element, bool swizzled = false, int64_t offset = -1) {
      return get(element.getContext(), space, element, swizzled, offset);
    }
  }];
  let parameters = (ins EnumParameter<Tile_Space>:$space, "::mlir::Type":$element,
                        DefaultValuedParameter<"bool", "false">:$swizzled,
                        DefaultValuedParameter<"int64_t", "-1">:$offset);
  let assemblyFormat = "`<` $space `,` $element (`,` struct($swizzled, $offset)^)? `>`";
}
def Tile_PlaceArray : TypedArrayAttrBase<Tile_PlaceAttr, "one place per result">;

//===----------------------------------------------------------------------===//
// Ops
//===----------------------------------------------------------------------===//

def Tile_LoadOp : Tile_Op<"load", [Pure, SameOperandsAndResultType]> {
  let summary = "The present slice of an operand, in shared memory";
  let description = [{
    Copies what the body sees of an operand of the scan; rows beyond the last token
    become zero. Started at the beginning of the step; with `stages` 2 the copy for
    the next step is under way while this one is computed.

    Constraints: (C1) the operand is an argument of the scan's body; (C2) the place
    is shared.

    Example: `%q = tile.load %arg0 at #tile.place<shared, bf16, swizzled = true> : tensor<64x32xf32>`
  }];
  let arguments = (ins Tile_Float:$operand, Tile_PlaceAttr:$place, DefaultValuedAttr<I64Attr, "1">:$stages);
  let results = (outs Tile_Float:$result);
  let assemblyFormat = "$operand `at` $place (`stages` $stages^)? attr-dict `:` type($operand)";
  let hasVerifier = 1;
}

def Tile_StreamOp : Tile_Op<"stream", [Pure, SameOperandsAndResultType]> {
  let summary = "An operand that a product reads slice by slice from global memory";
  let description = [{
    The right side of one product, too large to lie in shared memory whole. Of its
    dimension `along`, which the product sums over, `slice` entries are there at a
    time while the next ones are under way: the place holds two slices.

    Constraints: (C1) the operand is an argument of the scan's body, a matrix whose
    sides are multiples of 16; (C2) the place is shared and swizzled; (C3) `slice`
    is a multiple of 16 that divides dimension `along`; (C4) the only user is a
    product, on its right side, contracted over `along`.

    Example: `%S = tile.stream %arg0 along 1 slices 64 at #tile.place<shared, bf16, swizzled = true> : tensor<256x256xf32>`
  }];
  let arguments = (ins Tile_Float:$operand, I64Attr:$along, I64Attr:$slice, Tile_PlaceAttr:$place);
  let results = (outs Tile_Float:$result);
  let assemblyFormat = "$operand `along` $along `slices` $slice `at` $place attr-dict `:` type($operand)";
  let hasVerifier = 1;
}

def Tile_Form : I32EnumAttr<"Form", "how the threads share the elements of a statement", [
    I32EnumAttrCase<"Fragment", 0, "fragment">,
    I32EnumAttrCase<"Elements", 1, "elements">,
    I32EnumAttrCase<"Reduce", 2, "reduce">,
    I32EnumAttrCase<"Cumsum", 3, "cumsum">,
    I32EnumAttrCase<"Invert", 4, "invert">,
    I32EnumAttrCase<"Solve", 5, "solve">]> {
  let cppNamespace = "::tidegate::tile";
  let genSpecializedAttr = 0;
}
def Tile_FormAttr : EnumAttr<Tile_Dialect, Tile_Form, "form"> {
  let assemblyFormat = "$value";
}

def Tile_ComputeOp : Tile_Op<"compute", [SingleBlock, NoRegionArguments]> {
  let summary = "One statement: values that the block computes together";
  let description = [{
    The body is a tree of `nn` and `rec` ops over values from outside; it yields
    one value per result, all of one shape. What is inside is computed where it is
    needed, element by element. Forms:

    - `fragment`: in the layout of accumulators; products (`nn.dot`,
      `rec.decay_scores`, `rec.decay_mix`) go through the tensor cores, the rest is
      their epilogue, in float;
    - `elements`: element by element;
    - `reduce`: the root is a reduction;
    - `cumsum`: the root is a `rec.cumsum`;
    - `invert`: the root is the inverse of a unit lower triangle, a
      `rec.solve_unit_lower` of a matrix from outside;
    - `solve`: the root is a `rec.decay_solve`; its right side is computed here,
      element by element, all else comes from outside.

    Constraints: (C1) one place per result; (C2) products stand in fragments only.

    Example:
    ```mlir
    %p = tile.compute fragment at [#tile.place<shared, bf16, swizzled = true>] {
      %0 = nn.dot %q, %k contract [1] x [1] : tensor<64x32xf32>, tensor<64x32xf32>
      %1 = nn.mul %0, %scale : tensor<64x64xf32>, tensor<f32>
      tile.yield %1 : tensor<64x64xf32>
    } : tensor<64x64xf32>
    ```
  }];
  let arguments = (ins Tile_FormAttr:$form, Tile_PlaceArray:$places);
  let results = (outs Variadic<Tile_Float>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$form `at` $places $body attr-dict `:` type($results)";
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    PlaceAttr placeOf(unsigned result) { return ::mlir::cast<PlaceAttr>(getPlaces()[result]); }
    ::mlir::OperandRange getYielded() { return getBody().front().getTerminator()->getOperands(); }
  }];
}

def Tile_YieldOp : Tile_Op<"yield", [Pure, Terminator, ReturnLike, HasParent<"ComputeOp">]> {
  let summary = "Values of a statement";
  let description = [{ Ends the body of `tile.compute`. Example: `tile.yield %1 : tensor<64x64xf32>` }];
  let arguments = (ins Variadic<Tile_Float>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}

def Tile_CausalOp : Tile_Op<"causal", [Pure, AttrSizedOperandSegments, AllTypesMatch<["input", "result"]>]> {
  let summary = "Entries of a score matrix under causal decay by one number per row";
  let description = [{
    `y[j, m] = x[j, m] e^(Gq[j] - Gk[m])` where event m is before event j, else 0:
    what `rec.decay_scores` and `rec.decay_mix` are around a plain product when all
    channels decay alike. Positions and gates as there, gates `rows x 1`. Element-wise.

    Constraints: (C1) both gates or none.

    Example: `%y = tile.causal %x gates %gq, %gk at [1] x [0] : tensor<64x64xf32>`
  }];
  let arguments = (ins Tile_Float:$input, Optional<Tile_Float>:$row_gate, Optional<Tile_Float>:$col_gate,
                       DenseI64ArrayAttr:$row_positions, DenseI64ArrayAttr:$col_positions);
  let results = (outs Tile_Float:$result);
  let assemblyFormat = [{
    $input (`gates` $row_gate^ `,` $col_gate `:` type($row_gate) `,` type($col_gate))?
    `at` $row_positions `x` $col_positions attr-dict `:` type($input)
  }];
}

def Tile_RoundOp : Tile_Op<"round", [Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "x rounded to bfloat16";
  let description = [{
    `y = x` to the 8 digits of bfloat16, ties to even: what a product reads of a value
    that is kept for it, where an element is computed again instead of read.
    Element-wise.

    Example: `%y = tile.round %x : tensor<64x64xf32>`
  }];
  let arguments = (ins Tile_Float:$input);
  let results = (outs Tile_Float:$result);
  let assemblyFormat = "$input attr-dict `:` type($input)";
}

def Tile_BarrierOp : Tile_Op<"barrier"> {
  let summary = "The threads of the block wait for each other";
  let description = [{
    What was written to shared memory before is seen after.
    Example: `tile.barrier`
  }];
  let assemblyFormat = "attr-dict";
}

#endif
