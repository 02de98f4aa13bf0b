//===- Attention.td - Positions and window attention -------*- tablegen -*-===//
// What a token's place in its sequence decides. Positions are one int tensor
// B x T; a token at position p of its document may look back p tokens, which is
// all that attention needs to know of documents and of rows fed before.
//===----------------------------------------------------------------------===//
#ifndef TIDEGATE_NN_ATTENTION
#define TIDEGATE_NN_ATTENTION

def Nn_PositionsOp : Nn_Op<"positions", [Pure, InferTypeOpInterface,
    DeclareOpInterfaceMethods<DifferentiableOpInterface, ["buildAdjoint"]>]> {
  let summary = "The position of each token";
  let description = [{
    `result[b, t] = first[b] + t`, where `first` is the number of tokens that
    came before (0 if it is missing), and `next[b] = first[b] + T`. Only the
    sizes B and T of `like` are used.

    Shapes: `like` is `B x T x ...`, `result` is `B x T`, `first` and `next` are
    `B x 1`.

    Constraints: (C1) `like` has at least two dimensions; (C2) `first` is `B x 1`.

    Example: `%p, %next = nn.positions %x : tensor<?x?x8xf32>`
  }];
  let arguments = (ins AnyRankedTensor:$like, Optional<Nn_Index>:$first);
  let results = (outs Nn_Index:$result, Nn_Index:$next);
  let assemblyFormat = "$like (`from` $first^)? attr-dict `:` type($like) (`,` type($first)^)?";
  let hasCanonicalizeMethod = 1;
  let extraClassDeclaration = [{
    static ::llvm::LogicalResult inferReturnTypes(
        ::mlir::MLIRContext *, std::optional<::mlir::Location> loc, ::mlir::ValueRange operands,
        ::mlir::DictionaryAttr, ::mlir::OpaqueProperties, ::mlir::RegionRange,
        ::llvm::SmallVectorImpl<::mlir::Type> &types);
  }];
}

class Nn_WindowAttention<string mnemonic, list<Trait> traits = []> : Nn_Op<mnemonic, traits # [Pure,
    AttrSizedOperandSegments, InferTypeOpInterface]> {
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    static ::llvm::LogicalResult inferReturnTypes(
        ::mlir::MLIRContext *context, std::optional<::mlir::Location> loc, ::mlir::ValueRange operands,
        ::mlir::DictionaryAttr attributes, ::mlir::OpaqueProperties properties, ::mlir::RegionRange regions,
        ::llvm::SmallVectorImpl<::mlir::Type> &types);
  }];
}

def Nn_AttentionOp : Nn_WindowAttention<"attention",
    [DeclareOpInterfaceMethods<DifferentiableOpInterface, ["buildAdjoint", "isWorthSaving"]>]> {
  let summary = "Causal softmax attention in a window";
  let description = [{
    Token t looks at the tokens s of `lo[t] .. t`, itself and the W-1 before it:
    `result[t, h] = sum over s of p[t, s] value[s, g]` with
    `p[t, s] = exp(query[t, h] . key[s, g] - lse[t, h])`, where `lse` is the
    logarithm of the sum of the exponentials and `g = h / (H / G)` the group of
    head h. Scores are not scaled.

    `past_key` and `past_value` are the W-1 rows before the sequence, s = -(W-1)
    to -1; without them `lo[t] = max(t - (W-1), 0)`, with them `t - (W-1)`. With
    `positions` a token sees no more than `positions[t]` tokens before it, which
    excludes other documents and past rows that hold no token; itself it sees
    always. `next_key` and `next_value` are the past of the token after the last:
    the last W-1 rows of past (zeros without one) and sequence.

    Memory is `O(T)`: neither this op nor its adjoint keeps scores.

    Shapes: `query` is `B x T x H x K`, `key` is `B x T x G x K`, `value` is
    `B x T x G x V`, `positions` is `B x T`, `past_key` and `next_key` are
    `B x W-1 x G x K`, `past_value` and `next_value` are `B x W-1 x G x V`;
    `result` is `B x T x H x V`, `lse` is `B x T x H`.

    Constraints: (C1) query, key and value have rank 4 and agree in B and T, query
    and key in K, key and value in G; (C2) G divides H; (C3) W is at least 1;
    (C4) element types are equal; (C5) `positions` is `B x T`; (C6) both pasts are
    given or none, of the shapes above.

    Example:
    ```mlir
    %o, %lse, %nk, %nv = nn.attention %q, %k, %v window 16
        : tensor<?x?x4x8xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x8xf32>
    ```
  }];
  let arguments = (ins Nn_Float:$query, Nn_Float:$key, Nn_Float:$value, Optional<Nn_Index>:$positions,
                       Optional<Nn_Float>:$past_key, Optional<Nn_Float>:$past_value, I64Attr:$window);
  let results = (outs Nn_Float:$result, Nn_Float:$lse, Nn_Float:$next_key, Nn_Float:$next_value);
  let assemblyFormat = [{
    $query `,` $key `,` $value `window` $window (`at` `(` $positions^ `:` type($positions) `)`)?
    (`after` `(` $past_key^ `,` $past_value `:` type($past_key) `,` type($past_value) `)`)? attr-dict
    `:` type($query) `,` type($key) `,` type($value)
  }];
}

def Nn_AttentionGradOp : Nn_WindowAttention<"attention_grad"> {
  let summary = "Adjoint of nn.attention";
  let description = [{
    The cotangents of query, key, value and past of an `nn.attention` with results
    `result` and `lse`, for the cotangents `result_grad` and `lse_grad` (zeros if
    missing): with `ds[t, s] = p[t, s] (result_grad[t] . value[s] - result_grad[t] .
    result[t] + lse_grad[t])`, `query_grad[t] = sum over s of ds[t, s] key[s]`,
    `key_grad[s] = sum over t and the heads of a group of ds[t, s] query[t]`, and
    `value_grad[s]` the same sum of `p[t, s] result_grad[t]`. Without a past the
    gradients by it are zeros. The order of all sums is fixed. It has no adjoint
    of its own.

    Shapes: as for `nn.attention`; a cotangent has the shape of its value.

    Constraints: (C1) to (C6) as for `nn.attention`; (C7) `result` and
    `result_grad` are `B x T x H x V`, `lse` and `lse_grad` are `B x T x H`.

    Example:
    ```mlir
    %dq, %dk, %dv, %dpk, %dpv = nn.attention_grad %q, %k, %v, %o, %lse, %do window 16
        : tensor<?x?x4x8xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x8xf32>
    ```
  }];
  let arguments = (ins Nn_Float:$query, Nn_Float:$key, Nn_Float:$value, Nn_Float:$result, Nn_Float:$lse,
                       Nn_Float:$result_grad, Optional<Nn_Float>:$lse_grad, Optional<Nn_Index>:$positions,
                       Optional<Nn_Float>:$past_key, Optional<Nn_Float>:$past_value, I64Attr:$window);
  let results = (outs Nn_Float:$query_grad, Nn_Float:$key_grad, Nn_Float:$value_grad, Nn_Float:$past_key_grad,
                      Nn_Float:$past_value_grad);
  let assemblyFormat = [{
    $query `,` $key `,` $value `,` $result `,` $lse `,` $result_grad `window` $window
    (`lse` `(` $lse_grad^ `:` type($lse_grad) `)`)? (`at` `(` $positions^ `:` type($positions) `)`)?
    (`after` `(` $past_key^ `,` $past_value `:` type($past_key) `,` type($past_value) `)`)? attr-dict
    `:` type($query) `,` type($key) `,` type($value) `,` type($result) `,` type($lse) `,` type($result_grad)
  }];
}

#endif
