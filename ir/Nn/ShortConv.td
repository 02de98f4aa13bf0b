//===- ShortConv.td - Short convolutions along time --------*- tablegen -*-===//
// Three ops that are each other's adjoints. With the rows of `past` put before
// those of `input`, x'[s] = past[s] for s < W-1 and input[s-(W-1)] from there,
// all of them are derivatives of one form: sum of weight[c, j] x'[t+j, c] dy[t, c].
// With `positions` the terms of tap j count only where the token's position in
// its document is at least W-1-j, the distance that the tap looks back.
//===----------------------------------------------------------------------===//
#ifndef TIDEGATE_NN_SHORT_CONV
#define TIDEGATE_NN_SHORT_CONV

class Nn_ShortConv<string mnemonic, list<Trait> traits = []> : Nn_Op<mnemonic, traits # [Pure, AttrSizedOperandSegments,
    DeclareOpInterfaceMethods<DifferentiableOpInterface, ["buildAdjoint"]>]>;

/// Rows and W-1 edge rows in, rows and W-1 edge rows out.
class Nn_ShortConvRows<string mnemonic> : Nn_ShortConv<mnemonic, [InferTypeOpInterface]> {
  let extraClassDeclaration = [{
    static ::llvm::LogicalResult inferReturnTypes(
        ::mlir::MLIRContext *, std::optional<::mlir::Location> loc, ::mlir::ValueRange operands,
        ::mlir::DictionaryAttr, ::mlir::OpaqueProperties, ::mlir::RegionRange,
        ::llvm::SmallVectorImpl<::mlir::Type> &types) {
      return inferShortConvTypes(loc, operands, types);
    }
  }];
}

def Nn_ShortConvOp : Nn_ShortConvRows<"short_conv"> {
  let summary = "Depth-wise causal convolution along time";
  let description = [{
    `y[t, c] = sum over j < W of weight[c, j] x'[t+j, c]`, where `x'` is `past`
    followed by `input`: the last tap meets the current token. Without `past`
    what precedes the sequence is 0. `next` is the past of the token after the
    last, the last `W-1` rows of `x'`. With `positions`, the places of the tokens
    in their documents, a token sees no row of another document: tap j counts
    where `positions[t] >= W-1-j`.

    Shapes: `input` and `result` are `B x T x C`, `weight` is `C x W`, `past` and
    `next` are `B x W-1 x C`, `positions` is `B x T`.

    Constraints: (C1) `input` has rank 3; (C2) `weight` is `C x W`, W at least 2;
    (C3) `past` is `B x W-1 x C`; (C4) element types are equal; (C6) `positions`
    is `B x T`.

    Example: `%y, %next = nn.short_conv %x, %w : tensor<?x?x8xf32>, tensor<8x4xf32>`
  }];
  let arguments = (ins Nn_Float:$input, Nn_Float:$weight, Optional<Nn_Float>:$past,
                       Optional<Nn_Index>:$positions);
  let results = (outs Nn_Float:$result, Nn_Float:$next);
  let assemblyFormat = [{
    $input `,` $weight (`after` $past^)? (`at` `(` $positions^ `:` type($positions) `)`)? attr-dict `:` type($input) `,` type($weight) (`,` type($past)^)?
  }];
}

def Nn_ShortConvInputGradOp : Nn_ShortConvRows<"short_conv_input_grad"> {
  let summary = "Adjoint of nn.short_conv by its rows";
  let description = [{
    With `dx'[s, c] = sum over j of weight[c, j] dy[s-j, c]` (rows of `dy` outside
    the sequence are 0), to whose last `W-1` rows `next_grad` is added, `past_grad`
    is the first `W-1` rows of `dx'` and `result` the `T` rows after them.

    Shapes: `input` (which is `dy`) and `result` are `B x T x C`, `weight` is
    `C x W`, `next_grad` and `past_grad` are `B x W-1 x C`.

    Constraints: (C1) to (C4), (C6) as for `nn.short_conv`.

    Example: `%dx, %dpast = nn.short_conv_input_grad %dy, %w : tensor<?x?x8xf32>, tensor<8x4xf32>`
  }];
  let arguments = (ins Nn_Float:$input, Nn_Float:$weight, Optional<Nn_Float>:$next_grad,
                       Optional<Nn_Index>:$positions);
  let results = (outs Nn_Float:$result, Nn_Float:$past_grad);
  let assemblyFormat = [{
    $input `,` $weight (`before` $next_grad^)? (`at` `(` $positions^ `:` type($positions) `)`)? attr-dict `:` type($input) `,` type($weight) (`,` type($next_grad)^)?
  }];
}

def Nn_ShortConvWeightGradOp : Nn_ShortConv<"short_conv_weight_grad"> {
  let summary = "Adjoint of nn.short_conv by its weight";
  let description = [{
    `dw[c, j] = sum over b, t of x'[b, t+j, c] dy[b, t, c]`, with `x'` as in
    `nn.short_conv`; the order of the sum is fixed.

    Shapes: `input` and `cotangent` (which is `dy`) are `B x T x C`, `past` is
    `B x W-1 x C`, `result` is `C x W`.

    Constraints: (C1) `input` has rank 3; (C2) `result` is `C x W`, W at least 2;
    (C3) `past` is `B x W-1 x C`; (C4) element types are equal; (C5) `cotangent`
    has the type of `input`; (C6) `positions` is `B x T`.

    Example: `%dw = nn.short_conv_weight_grad %x, %dy : tensor<?x?x8xf32>, tensor<?x?x8xf32> -> tensor<8x4xf32>`
  }];
  let arguments = (ins Nn_Float:$input, Nn_Float:$cotangent, Optional<Nn_Float>:$past,
                       Optional<Nn_Index>:$positions);
  let results = (outs Nn_Float:$result);
  let assemblyFormat = [{
    $input `,` $cotangent (`after` $past^)? (`at` `(` $positions^ `:` type($positions) `)`)? attr-dict `:` type($input) `,` type($cotangent) (`,` type($past)^)?
    `->` type($result)
  }];
  let hasVerifier = 1;
}

#endif
