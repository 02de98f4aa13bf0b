//===- NnOps.td - The graph dialect ------------------------*- tablegen -*-===//
#ifndef TIDEGATE_NN_OPS
#define TIDEGATE_NN_OPS

include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "ir/Interfaces/DifferentiableOpInterface.td"
include "ir/Interfaces/ElementwiseOpInterface.td"

def Nn_Dialect : Dialect {
  let name = "nn";
  let cppNamespace = "::tidegate::nn";
  let summary = "Neural-network graphs on tensors: no tiling, no memory, no device";
  let description = [{
    Whole models, and the bodies of scans and maps. Leading `?` dimensions are
    row dimensions (batch, time); all others are compile-time integers.
  }];
  let hasCanonicalizer = 1;
}

class Nn_Op<string mnemonic, list<Trait> traits = []> : Op<Nn_Dialect, mnemonic, traits>;

def Nn_Float : RankedTensorOf<[F32, F64]>;
def Nn_Index : RankedTensorOf<[I32]>;

//===----------------------------------------------------------------------===//
// Element-wise
//===----------------------------------------------------------------------===//

/// Element-wise op with one scalar rule (NnScalars.cpp) and one adjoint
/// (NnAdjoints.cpp). Operands broadcast like NumPy; the result type follows.
class Nn_Elementwise<string mnemonic, list<Trait> traits = []>
    : Nn_Op<mnemonic, traits # [Pure, InferTypeOpInterface,
            DeclareOpInterfaceMethods<DifferentiableOpInterface, ["buildAdjoint"]>,
            DeclareOpInterfaceMethods<ElementwiseOpInterface>]> {
  let results = (outs Nn_Float:$result);
  let extraClassDeclaration = [{
    static ::llvm::LogicalResult inferReturnTypes(
        ::mlir::MLIRContext *, std::optional<::mlir::Location> loc, ::mlir::ValueRange operands,
        ::mlir::DictionaryAttr, ::mlir::OpaqueProperties, ::mlir::RegionRange,
        ::llvm::SmallVectorImpl<::mlir::Type> &types) {
      return inferElementwiseType(loc, operands, types);
    }
  }];
}

class Nn_Unary<string mnemonic, string formula> : Nn_Elementwise<mnemonic> {
  let summary = "Element-wise " # formula;
  let description = "Computes `y = " # formula # [{` for every element `x`.

    Constraints: (C1) the result has the operand's type.

    Example: `%y = nn.}] # mnemonic # [{ %x : tensor<?x?x8xf32>`
  }];
  let arguments = (ins Nn_Float:$input);
  let assemblyFormat = "$input attr-dict `:` type($input)";
}

def Nn_NegOp : Nn_Unary<"neg", "-x"> { let hasFolder = 1; }
def Nn_ExpOp : Nn_Unary<"exp", "e^x">;
def Nn_LogOp : Nn_Unary<"log", "ln x"> { let hasCanonicalizeMethod = 1; }
def Nn_SqrtOp : Nn_Unary<"sqrt", "x^(1/2)">;
def Nn_RsqrtOp : Nn_Unary<"rsqrt", "x^(-1/2)">;
def Nn_AbsOp : Nn_Unary<"abs", "|x|">;
def Nn_SigmoidOp : Nn_Unary<"sigmoid", "1 / (1 + e^-x)">;
def Nn_SoftplusOp : Nn_Unary<"softplus", "max(x, 0) + ln(1 + e^-|x|)">;
def Nn_TanhOp : Nn_Unary<"tanh", "tanh x">;
def Nn_SinOp : Nn_Unary<"sin", "sin x">;
def Nn_CosOp : Nn_Unary<"cos", "cos x">;
def Nn_IsFiniteOp : Nn_Unary<"is_finite", "1 if x is finite, else 0">;
def Nn_StopGradientOp : Nn_Unary<"stop_gradient", "x (its adjoint is zero)">;

class Nn_Binary<string mnemonic, string formula> : Nn_Elementwise<mnemonic> {
  let summary = "Element-wise " # formula;
  let description = "Computes `" # formula # [{`, operands broadcast against each other.

    Constraints: (C1) shapes aligned at the end agree, or one of them is a
    static 1 or missing; (C2) element types are equal.

    Example: `%z = nn.}] # mnemonic # [{ %x, %w : tensor<?x?x8xf32>, tensor<8xf32>`
  }];
  let arguments = (ins Nn_Float:$lhs, Nn_Float:$rhs);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($lhs) `,` type($rhs)";
}

def Nn_AddOp : Nn_Binary<"add", "x + y"> { let hasFolder = 1; }
def Nn_SubOp : Nn_Binary<"sub", "x - y"> { let hasFolder = 1; }
def Nn_MulOp : Nn_Binary<"mul", "x * y"> { let hasFolder = 1; }
def Nn_DivOp : Nn_Binary<"div", "x / y"> { let hasFolder = 1; }
def Nn_MaximumOp : Nn_Binary<"maximum", "max(x, y)">;
def Nn_MinimumOp : Nn_Binary<"minimum", "min(x, y)">;
def Nn_GreaterOp : Nn_Binary<"greater", "1 if x > y, else 0">;
def Nn_EqualOp : Nn_Binary<"equal", "1 if x = y, else 0">;

def Nn_SelectOp : Nn_Elementwise<"select"> {
  let summary = "Element-wise choice";
  let description = [{
    Computes `x` where `condition` is not 0 and `y` where it is; the branch not
    taken may be inf or NaN, in value and in gradient.

    Constraints: as for binary ops.

    Example: `%z = nn.select %c, %x, %y : tensor<8xf32>, tensor<8xf32>, tensor<8xf32>`
  }];
  let arguments = (ins Nn_Float:$condition, Nn_Float:$lhs, Nn_Float:$rhs);
  let assemblyFormat = "$condition `,` $lhs `,` $rhs attr-dict `:` type($condition) `,` type($lhs) `,` type($rhs)";
}

def Nn_AngleOp : Nn_Elementwise<"angle"> {
  let summary = "Angle of a geometric series of frequencies, less whole turns";
  let description = [{
    Computes `position * base^channel` less the whole turns in it, in [-pi, pi],
    computed in double precision whatever the type: in float the product of 4000
    and a frequency is off by up to 2e-4, which sine and cosine would be too. Its
    adjoint by the position is `dy * base^channel`, by the channel none.

    Constraints: as for binary ops; (C3) `base` is above 0 and finite.

    Example: `%a = nn.angle %t, %i base 0.1 : tensor<?x?x1xf32>, tensor<8xf32>`
  }];
  let arguments = (ins Nn_Float:$position, Nn_Float:$channel, F64Attr:$base);
  let assemblyFormat = "$position `,` $channel `base` $base attr-dict `:` type($position) `,` type($channel)";
  let hasVerifier = 1;
}

def Nn_ConstantOp : Nn_Op<"constant", [Pure,
    DeclareOpInterfaceMethods<DifferentiableOpInterface, ["buildAdjoint"]>,
    DeclareOpInterfaceMethods<ElementwiseOpInterface>]> {
  let summary = "One number everywhere";
  let description = [{
    A tensor of static shape whose every element is `value`.

    Constraints: (C1) the result shape is static.

    Example: `%c = nn.constant 0.5 : tensor<f32>`
  }];
  let arguments = (ins F64Attr:$value);
  let results = (outs Nn_Float:$result);
  let assemblyFormat = "$value attr-dict `:` type($result)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Shapes and reductions
//===----------------------------------------------------------------------===//

class Nn_Shaped<string mnemonic, list<Trait> traits = []>
    : Nn_Op<mnemonic, traits # [Pure, DeclareOpInterfaceMethods<DifferentiableOpInterface, ["buildAdjoint"]>]>;

def Nn_BroadcastLikeOp : Nn_Shaped<"broadcast_like"> {
  let summary = "Repeat a tensor to another's shape";
  let description = [{
    Repeats `input` to the shape of `like`, by the rules of element-wise
    broadcasting; the values of `like` are not read.

    Constraints: (C1) `input` broadcasts to the shape of `like`.

    Example: `%y = nn.broadcast_like %x, %l : tensor<?x?x1xf32>, tensor<?x?x8xf32>`
  }];
  let arguments = (ins Nn_Float:$input, RankedTensorOf<[F32, F64, I32]>:$like);
  let results = (outs Nn_Float:$result);
  let assemblyFormat = "$input `,` $like attr-dict `:` type($input) `,` type($like) `->` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def Nn_ReshapeOp : Nn_Shaped<"reshape"> {
  let summary = "Regroup static dimensions";
  let description = [{
    The same elements in row-major order under another shape.

    Constraints: (C1) operand and result have the same leading `?` dimensions
    and no other; (C2) the static dimensions hold equally many elements.

    Example: `%y = nn.reshape %x : tensor<?x?x64xf32> -> tensor<?x?x2x32xf32>`
  }];
  let arguments = (ins Nn_Float:$input);
  let results = (outs Nn_Float:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def Nn_CastRowsOp : Nn_Op<"cast_rows", [Pure]> {
  let summary = "A dimension counted as rows, or no longer";
  let description = [{
    The same tensor. Its second dimension becomes a row dimension (`?`), or one
    of a size that is known. What `?` stands for is that size wherever the op is
    used.

    Constraints: (C1) operand and result have the same dimensions but for the
    second, which is `?` on one side.

    Example: `%y = nn.cast_rows %x : tensor<?x64x8xf32> -> tensor<?x?x8xf32>`
  }];
  let arguments = (ins Nn_Float:$input);
  let results = (outs Nn_Float:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

def Nn_LastRowsOp : Nn_Op<"last_rows", [Pure]> {
  let summary = "The last rows of a sequence and of what came before it";
  let description = [{
    The last `E` rows of `past` followed by `input`. Without `past` what precedes the
    sequence is 0. What a sequence leaves to one that goes on from it, with the
    `past` of that one for its result; with `E = 1` its last row.

    Shapes: `input` is `B x T x rest`, `past` and the result are `B x E x rest`.

    Constraints: (C1) `input` has at least two dimensions, and the result its
    dimensions but for the second, which is known; (C2) `past` has the type of the result.

    Example: `%y = nn.last_rows %x after %p : tensor<?x?x8xf32>, tensor<?x3x8xf32> -> tensor<?x3x8xf32>`
  }];
  let arguments = (ins Nn_Float:$input, Optional<Nn_Float>:$past);
  let results = (outs Nn_Float:$result);
  let assemblyFormat = [{
    $input (`after` $past^)? attr-dict `:` type($input) (`,` type($past)^)? `->` type($result)
  }];
  let hasVerifier = 1;
}

def Nn_TransposeOp : Nn_Shaped<"transpose"> {
  let summary = "Permute dimensions";
  let description = [{
    `y[i_p0, i_p1, ...] = x[i_0, i_1, ...]`: dimension `d` of the result is
    dimension `permutation[d]` of the operand.

    Constraints: (C1) `permutation` is a permutation of the dimensions;
    (C2) the sizes of the result follow from it.

    Example: `%y = nn.transpose %x [1, 0] : tensor<2x3xf32> -> tensor<3x2xf32>`
  }];
  let arguments = (ins Nn_Float:$input, DenseI64ArrayAttr:$permutation);
  let results = (outs Nn_Float:$result);
  let assemblyFormat = "$input $permutation attr-dict `:` type($input) `->` type($result)";
  let builders = [OpBuilder<(ins "::mlir::Value":$input, "::llvm::ArrayRef<int64_t>":$permutation)>];
  let hasVerifier = 1;
  let hasFolder = 1;
}

def Nn_SliceOp : Nn_Shaped<"slice"> {
  let summary = "A range of one static dimension";
  let description = [{
    Elements `begin, begin + stride, ...` of dimension `dim`, `size` of them.

    Constraints: (C1) `dim` is static; (C2) the range lies inside it.

    Example: `%y = nn.slice %x dim 0 from 2 step 1 : tensor<8x4xf32> -> tensor<3x4xf32>`
  }];
  let arguments = (ins Nn_Float:$input, I64Attr:$dim, I64Attr:$begin, I64Attr:$stride);
  let results = (outs Nn_Float:$result);
  let assemblyFormat = "$input `dim` $dim `from` $begin `step` $stride attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

def Nn_PadOp : Nn_Shaped<"pad"> {
  let summary = "Place a tensor into zeros along one static dimension";
  let description = [{
    The adjoint of `nn.slice`: zeros, with `input` at positions `begin,
    begin + stride, ...` of dimension `dim`.

    Constraints: (C1) `dim` is static; (C2) the range lies inside the result.

    Example: `%y = nn.pad %x dim 0 from 2 step 1 : tensor<3x4xf32> -> tensor<8x4xf32>`
  }];
  let arguments = (ins Nn_Float:$input, I64Attr:$dim, I64Attr:$begin, I64Attr:$stride);
  let results = (outs Nn_Float:$result);
  let assemblyFormat = "$input `dim` $dim `from` $begin `step` $stride attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

class Nn_Reduce<string mnemonic, string word> : Nn_Shaped<mnemonic, [InferTypeOpInterface]> {
  let summary = word # " over dimensions, which stay as 1";
  let description = "The " # word # [{ over the dimensions `dims`. A reduced
    dimension stays with size 1, so the result broadcasts against the operand.

    Constraints: (C1) `dims` is ascending and in range.

    Example: `%s = nn.}] # mnemonic # [{ %x [2] : tensor<?x?x8xf32>`
  }];
  let arguments = (ins Nn_Float:$input, DenseI64ArrayAttr:$dims);
  let results = (outs Nn_Float:$result);
  let assemblyFormat = "$input $dims attr-dict `:` type($input)";
  let hasVerifier = 1;
  let hasFolder = 1;
  let extraClassDeclaration = [{
    static ::llvm::LogicalResult inferReturnTypes(
        ::mlir::MLIRContext *context, std::optional<::mlir::Location> loc, ::mlir::ValueRange operands,
        ::mlir::DictionaryAttr attributes, ::mlir::OpaqueProperties properties, ::mlir::RegionRange regions,
        ::llvm::SmallVectorImpl<::mlir::Type> &types) {
      Adaptor adaptor(operands, attributes, properties, regions);
      return inferReducedType(loc, operands, adaptor.getDims(), types);
    }
  }];
}

def Nn_ReduceSumOp : Nn_Reduce<"reduce_sum", "sum">;
def Nn_ReduceMaxOp : Nn_Reduce<"reduce_max", "maximum">;

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

def Nn_DotOp : Nn_Op<"dot", [Pure, InferTypeOpInterface,
    DeclareOpInterfaceMethods<DifferentiableOpInterface, ["buildAdjoint", "isWorthSaving"]>]> {
  let summary = "Contraction of two tensors";
  let description = [{
    Sums over paired dimensions `lhs_contract`, `rhs_contract`; dimensions
    paired by `lhs_batch`, `rhs_batch` are kept once. The result's dimensions
    are the batch dimensions, then the free ones of `lhs`, then of `rhs`.

    Constraints: (C1) paired dimensions are equal; (C2) each dimension is named
    once; (C3) element types are equal.

    Example, `y = x W^T`:
    ```mlir
    %y = nn.dot %x, %w contract [2] x [1] : tensor<?x?x8xf32>, tensor<16x8xf32>
    ```
  }];
  let arguments = (ins Nn_Float:$lhs, Nn_Float:$rhs,
                       DefaultValuedAttr<DenseI64ArrayAttr, "{}">:$lhs_batch,
                       DefaultValuedAttr<DenseI64ArrayAttr, "{}">:$rhs_batch,
                       DenseI64ArrayAttr:$lhs_contract, DenseI64ArrayAttr:$rhs_contract);
  let results = (outs Nn_Float:$result);
  let assemblyFormat = [{
    $lhs `,` $rhs (`batch` $lhs_batch^ `x` $rhs_batch)? `contract` $lhs_contract `x` $rhs_contract attr-dict
    `:` type($lhs) `,` type($rhs)
  }];
  let builders = [OpBuilder<(ins "::mlir::Value":$lhs, "::mlir::Value":$rhs,
                                 "::llvm::ArrayRef<int64_t>":$lhsContract,
                                 "::llvm::ArrayRef<int64_t>":$rhsContract)>];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    static ::llvm::LogicalResult inferReturnTypes(
        ::mlir::MLIRContext *context, std::optional<::mlir::Location> loc, ::mlir::ValueRange operands,
        ::mlir::DictionaryAttr attributes, ::mlir::OpaqueProperties properties, ::mlir::RegionRange regions,
        ::llvm::SmallVectorImpl<::mlir::Type> &types);
    /// Dimensions of `lhs` (`rhs`) that are neither batch nor contracted, ascending.
    ::llvm::SmallVector<int64_t> getLhsFree();
    ::llvm::SmallVector<int64_t> getRhsFree();
  }];
}

//===----------------------------------------------------------------------===//
// Short convolutions
//===----------------------------------------------------------------------===//

include "ir/Nn/ShortConv.td"

//===----------------------------------------------------------------------===//
// Positions and attention
//===----------------------------------------------------------------------===//

include "ir/Nn/Attention.td"

//===----------------------------------------------------------------------===//
// Indices
//===----------------------------------------------------------------------===//

class Nn_Indexed<string mnemonic> : Nn_Op<mnemonic, [Pure,
    DeclareOpInterfaceMethods<DifferentiableOpInterface, ["buildAdjoint", "isWorthSaving"]>]> {
  let results = (outs Nn_Float:$result);
  let hasVerifier = 1;
}

def Nn_LookupOp : Nn_Indexed<"lookup"> {
  let summary = "Rows of a table";
  let description = [{
    `y[..., :] = table[ids[...], :]`; an id outside the table gives zeros.

    Constraints: (C1) `table` has rank 2; (C2) the result shape is that of
    `ids` followed by the table's width.

    Example: `%y = nn.lookup %table, %ids : tensor<100x8xf32>, tensor<?x?xi32> -> tensor<?x?x8xf32>`
  }];
  let arguments = (ins Nn_Float:$table, Nn_Index:$ids);
  let assemblyFormat = "$table `,` $ids attr-dict `:` type($table) `,` type($ids) `->` type($result)";
}

def Nn_LookupGradOp : Nn_Indexed<"lookup_grad"> {
  let summary = "Sum rows into a table";
  let description = [{
    The adjoint of `nn.lookup`: `y[n, :]` is the sum of `input[..., :]` over the
    positions with `ids[...] = n`, in row-major order of the positions.

    Constraints: (C1) the result has rank 2; (C2) `input` has the shape of
    `ids` followed by the result's width.

    Example: `%y = nn.lookup_grad %dx, %ids : tensor<?x?x8xf32>, tensor<?x?xi32> -> tensor<100x8xf32>`
  }];
  let arguments = (ins Nn_Float:$input, Nn_Index:$ids);
  let assemblyFormat = "$input `,` $ids attr-dict `:` type($input) `,` type($ids) `->` type($result)";
}

def Nn_PickOp : Nn_Indexed<"pick"> {
  let summary = "One element of the last dimension";
  let description = [{
    `y[..., 0] = x[..., ids[...]]`, and 0 where the id is outside the dimension
    (ignored positions carry -100).

    Constraints: (C1) `input` has the shape of `ids` and one more dimension,
    which is 1 in the result.

    Example: `%y = nn.pick %x, %ids : tensor<?x?x8xf32>, tensor<?x?xi32> -> tensor<?x?x1xf32>`
  }];
  let arguments = (ins Nn_Float:$input, Nn_Index:$ids);
  let assemblyFormat = "$input `,` $ids attr-dict `:` type($input) `,` type($ids) `->` type($result)";
}

def Nn_PlaceOp : Nn_Indexed<"place"> {
  let summary = "One element of the last dimension, zeros elsewhere";
  let description = [{
    The adjoint of `nn.pick`: `y[..., n] = x[..., 0]` where `n = ids[...]`,
    else 0.

    Constraints: (C1) `input` has the shape of `ids` and a last dimension of 1;
    (C2) the result has the shape of `ids` and one more dimension.

    Example: `%y = nn.place %x, %ids : tensor<?x?x1xf32>, tensor<?x?xi32> -> tensor<?x?x8xf32>`
  }];
  let arguments = (ins Nn_Float:$input, Nn_Index:$ids);
  let assemblyFormat = "$input `,` $ids attr-dict `:` type($input) `,` type($ids) `->` type($result)";
}

def Nn_IsIndexOp : Nn_Indexed<"is_index"> {
  let summary = "Which ids are not ignored";
  let description = [{
    `y[..., 0] = 1` where `ids[...] >= 0`, else 0.

    Constraints: (C1) the result has the shape of `ids` and a last dimension
    of 1.

    Example: `%y = nn.is_index %ids : tensor<?x?xi32> -> tensor<?x?x1xf32>`
  }];
  let arguments = (ins Nn_Index:$ids);
  let assemblyFormat = "$ids attr-dict `:` type($ids) `->` type($result)";
}

def Nn_ToFloatOp : Nn_Indexed<"to_float"> {
  let summary = "Indices as numbers";
  let description = [{
    The same values as floats; f32 holds them exactly up to 2^24. The adjoint is
    zero.

    Constraints: (C1) the result has the shape of `input`.

    Example: `%y = nn.to_float %positions : tensor<?x?xi32> -> tensor<?x?xf32>`
  }];
  let arguments = (ins Nn_Index:$input);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
}

def Nn_IotaOp : Nn_Op<"iota", [Pure,
    DeclareOpInterfaceMethods<DifferentiableOpInterface, ["buildAdjoint"]>]> {
  let summary = "0, 1, 2, ...";
  let description = [{
    `y[i] = i`.

    Constraints: (C1) the result is a vector of static size.

    Example: `%y = nn.iota : tensor<8xf32>`
  }];
  let results = (outs Nn_Float:$result);
  let assemblyFormat = "attr-dict `:` type($result)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Fused rows
//===----------------------------------------------------------------------===//

def Nn_MapOp : Nn_Op<"map", [Pure, SingleBlock, IsolatedFromAbove]> {
  let summary = "One body applied to every row";
  let description = [{
    The result of fusion. The first `row_rank` dimensions are the row space. An
    operand with `operand_rows[i] = true` is sliced: the body sees it without
    them; any other operand is seen whole by every row. A result with
    `result_rows[i] = true` has one value per row; any other is the sum of the
    body's value over all rows, added in a fixed order.

    Constraints: (C1) the body's arguments and yielded types follow from the
    operands and results; (C2) sliced operands and row results agree in the row
    dimensions; (C3) at least one operand is sliced unless `row_rank` is 0.

    Example, a bias gradient beside an element-wise product:
    ```mlir
    %y, %s = nn.map rows 2 (%x, %w) operand_rows [true, false] result_rows [true, false] {
    ^bb0(%a: tensor<8xf32>, %b: tensor<8xf32>):
      %p = nn.mul %a, %b : tensor<8xf32>, tensor<8xf32>
      nn.yield %p, %a : tensor<8xf32>, tensor<8xf32>
    } : (tensor<?x?x8xf32>, tensor<8xf32>) -> (tensor<?x?x8xf32>, tensor<8xf32>)
    ```
  }];
  let arguments = (ins Variadic<AnyRankedTensor>:$inputs, I64Attr:$row_rank,
                       DenseBoolArrayAttr:$operand_rows, DenseBoolArrayAttr:$result_rows);
  let results = (outs Variadic<Nn_Float>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    `rows` $row_rank `(` $inputs `)` `operand_rows` $operand_rows `result_rows` $result_rows $body attr-dict
    `:` functional-type($inputs, $results)
  }];
  let hasVerifier = 1;
}

def Nn_BlocksOp : Nn_Op<"blocks", [Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "A call that is made for blocks of rows";
  let description = [{
    What a call of `callee` computes, for a function that works row by row: a
    result with row dimensions depends on the same row of the operands and on
    operands without row dimensions; one without is a sum over all rows.

    The B T rows are cut into at most `count` blocks, and the function runs for
    one after another: what it computes on the way is never there for all rows.
    Rows of results are put one behind another; sums are added in the order of
    the blocks. In a block the function sees one batch row of so many tokens.

    Constraints: (C1) `callee` names a function, whose type is that of operands
    and results; (C2) row dimensions are two, `? x ?`, and an operand has them;
    (C3) `count` is at least 1.

    Example, a product whose result is too large to be kept, and the gradient of its weight:
    ```mlir
    %nll, %dw = nn.blocks @head 8 (%x, %labels, %w)
      : (tensor<?x?x8xf32>, tensor<?x?xi32>, tensor<100x8xf32>) -> (tensor<?x?x1xf32>, tensor<100x8xf32>)
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$callee, I64Attr:$count, Variadic<AnyRankedTensor>:$inputs);
  let results = (outs Variadic<Nn_Float>:$results);
  let assemblyFormat = "$callee $count `(` $inputs `)` attr-dict `:` functional-type($inputs, $results)";
  let hasVerifier = 1;
}

def Nn_YieldOp : Nn_Op<"yield", [Pure, Terminator, ReturnLike, HasParent<"MapOp">]> {
  let summary = "Values of one row";
  let description = [{ Ends the body of `nn.map`. Example: `nn.yield %a : tensor<8xf32>` }];
  let arguments = (ins Variadic<Nn_Float>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}

#endif
