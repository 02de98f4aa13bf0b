//===- RecOps.td - The recurrence dialect ------------------*- tablegen -*-===//
#ifndef TIDEGATE_REC_OPS
#define TIDEGATE_REC_OPS

include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "ir/Interfaces/DifferentiableOpInterface.td"
include "ir/Interfaces/ElementwiseOpInterface.td"

def Rec_Dialect : Dialect {
  let name = "rec";
  let cppNamespace = "::tidegate::rec";
  let summary = "Recurrences along time: no tiling, no memory, no device";
  let description = [{
    Scans along time in token form (what the user wrote) and chunk form (what
    runs), and the tile ops that the chunk form needs beyond `nn`.
  }];
  let dependentDialects = ["::tidegate::nn::NnDialect"];
}

class Rec_Op<string mnemonic, list<Trait> traits = []> : Op<Rec_Dialect, mnemonic, traits>;

def Rec_Float : RankedTensorOf<[F32, F64]>;

//===----------------------------------------------------------------------===//
// Scan
//===----------------------------------------------------------------------===//

def Rec_OperandKind : I64EnumAttr<"OperandKind", "how a scan walks an operand", [
    I64EnumAttrCase<"Token", 0, "token">,
    I64EnumAttrCase<"Step", 1, "step">,
    I64EnumAttrCase<"Head", 2, "head">,
    I64EnumAttrCase<"Shared", 3, "shared">,
    I64EnumAttrCase<"Row", 4, "row">]> {
  let cppNamespace = "::tidegate::rec";
}

def Rec_ScanOp : Rec_Op<"scan", [Pure, SingleBlock, AttrSizedOperandSegments, IsolatedFromAbove,
    DeclareOpInterfaceMethods<DifferentiableOpInterface, ["buildAdjoint", "isWorthSaving"]>]> {
  let summary = "A recurrence along time";
  let description = [{
    Walks `T` tokens in `N = ceil(T / chunk)` steps, from the first to the last
    or, if `reverse`, from the last to the first. Every batch row and head runs
    the body on its own:

    `state, out[n] = body(inputs[n], state)`

    Operands by `kinds`:
    - token:  `B x T x H' x rest`, H' dividing H: head h reads h / (H / H');
      the body sees `rest` when `chunk` is 1, else `chunk x rest`, whose rows
      beyond `T` are zero;
    - step:   `B x N x H' x rest`; the body sees `rest`, the slice of its step;
    - head:   `H x rest`; the body sees `rest`;
    - shared: `rest`, seen whole;
    - row:    `B x H x rest`; the body sees `rest`, in every step the same.

    `inits` gives the first states before the first step, `B x H x rest`, or
    `H x rest` where all rows of the batch start alike;
    states without one start at zero. The body's arguments are the operands, then the
    states. It yields the outputs, then the new states. `out_kinds` says for
    each output whether it is per token (rows beyond `T` are dropped) or per
    step. An output per token with H' in `heads` is the sum over each group of
    H / H' heads, added in the order of the heads. Results: the outputs, the final states, and with `save_states` the
    states at the entry of each step, `B x N x H x rest`.

    Constraints:
    - (C1) one kind per operand, and the body's arguments and yields follow from
      the types outside;
    - (C2) the first operand is per token: it gives B and T; H is the largest
      number of heads of an operand;
    - (C3) `inits` has at most one value per state, of its type outside, with or
      without B;
    - (C4) operands agree in B, T, N and H, but for token and step operands of fewer heads;
    - (C5) `heads`, if given, has one divisor of H per output, H itself for
      outputs per step.

    Example, gated linear attention in token form:
    ```mlir
    %o, %s = rec.scan chunk 1 (%a, %k, %v, %q : tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x4xf32>)
        kinds [0, 0, 0, 0] out_kinds [0] states 1 {
    ^bb0(%at: tensor<4xf32>, %kt: tensor<4xf32>, %vt: tensor<8xf32>, %qt: tensor<4xf32>, %S: tensor<4x8xf32>):
      %d = nn.reshape %at : tensor<4xf32> -> tensor<4x1xf32>
      %decayed = nn.mul %d, %S : tensor<4x1xf32>, tensor<4x8xf32>
      %kv = nn.dot %kt, %vt contract [] x [] : tensor<4xf32>, tensor<8xf32>
      %next = nn.add %decayed, %kv : tensor<4x8xf32>, tensor<4x8xf32>
      %ot = nn.dot %qt, %next contract [0] x [0] : tensor<4xf32>, tensor<4x8xf32>
      rec.yield %ot, %next : tensor<8xf32>, tensor<4x8xf32>
    } -> tensor<?x?x2x8xf32>, tensor<?x2x4x8xf32>
    ```
  }];
  let arguments = (ins Variadic<AnyRankedTensor>:$inputs, Variadic<Rec_Float>:$inits,
                       I64Attr:$chunk, DenseI64ArrayAttr:$kinds, DenseI64ArrayAttr:$out_kinds,
                       I64Attr:$num_states, UnitAttr:$reverse, UnitAttr:$save_states,
                       OptionalAttr<DenseI64ArrayAttr>:$out_heads);
  let results = (outs Variadic<Rec_Float>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    (`reverse` $reverse^)? (`save_states` $save_states^)? `chunk` $chunk
    `(` ($inputs^ `:` type($inputs))? `)` (`init` `(` $inits^ `:` type($inits) `)`)?
    `kinds` $kinds `out_kinds` $out_kinds (`heads` $out_heads^)? `states` $num_states $body attr-dict `->` type($results)
  }];
  let builders = [OpBuilder<(ins "::mlir::ValueRange":$inputs, "::llvm::ArrayRef<int64_t>":$kinds,
                                 "::mlir::ValueRange":$inits, "int64_t":$chunk,
                                 "::llvm::ArrayRef<int64_t>":$outKinds, "int64_t":$numStates,
                                 "bool":$reverse, "bool":$saveStates, "::mlir::Region *":$body,
                                 CArg<"::llvm::ArrayRef<int64_t>", "{}">:$outHeads), [{
    // Result types follow from the body, which is taken over.
    buildFromBody($_builder, $_state, inputs, kinds, inits, chunk, outKinds, numStates, reverse, saveStates, body,
                  outHeads);
  }]>];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    OperandKind kindOf(unsigned input) { return static_cast<OperandKind>(getKinds()[input]); }
    OperandKind outKindOf(unsigned output) { return static_cast<OperandKind>(getOutKinds()[output]); }
    unsigned getNumOutputs() { return getOutKinds().size(); }
    ::mlir::ResultRange getOutputs() { return getResults().take_front(getNumOutputs()); }
    ::mlir::ResultRange getFinalStates() { return getResults().slice(getNumOutputs(), getNumStates()); }
    /// Row for an initial state per batch row and head, Head for one that all rows share.
    OperandKind initKind(unsigned state) {
      auto init = ::mlir::cast<::mlir::RankedTensorType>(getInits()[state].getType());
      auto inner = ::mlir::cast<::mlir::RankedTensorType>(getBodyStates()[state].getType());
      return init.getRank() == inner.getRank() + 1 ? OperandKind::Head : OperandKind::Row;
    }
    /// States at the entry of each step; empty without `save_states`.
    ::mlir::ResultRange getEntryStates() { return getResults().drop_front(getNumOutputs() + getNumStates()); }
    ::mlir::Block::BlockArgListType getBodyInputs() {
      return getBody().getArguments().take_front(getInputs().size());
    }
    ::mlir::Block::BlockArgListType getBodyStates() {
      return getBody().getArguments().take_back(getNumStates());
    }
    /// The type that the body sees of an outer type, and back: `outer` gives the leading dimensions.
    static ::mlir::RankedTensorType innerType(::mlir::RankedTensorType outer, OperandKind kind, int64_t chunk);
    /// Number of heads.
    int64_t getHeads();
    /// Heads of an output outside: fewer than getHeads() if it is summed over groups.
    int64_t headsOfOutput(unsigned output) {
      return getOutHeads() ? (*getOutHeads())[output] : getHeads();
    }
    /// The attribute `heads`, empty if every output has all heads.
    ::llvm::ArrayRef<int64_t> getOutHeadsOrNone() {
      return getOutHeads() ? *getOutHeads() : ::llvm::ArrayRef<int64_t>();
    }
    /// Heads that must run one after another, because they add into one output.
    int64_t getHeadsInTurn();

    static void buildFromBody(::mlir::OpBuilder &builder, ::mlir::OperationState &state, ::mlir::ValueRange inputs,
                              ::llvm::ArrayRef<int64_t> kinds, ::mlir::ValueRange inits, int64_t chunk,
                              ::llvm::ArrayRef<int64_t> outKinds, int64_t numStates, bool reverse, bool saveStates,
                              ::mlir::Region *body, ::llvm::ArrayRef<int64_t> outHeads);
  }];
}

def Rec_LoopOp : Rec_Op<"loop", [Pure, AttrSizedOperandSegments,
    DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "A scan over chunks, one step after another for all rows and heads at once";
  let description = [{
    What `rec.scan` with these attributes computes. Each step is a call of a
    function on whole tensors: `last` for the step of the last token, `step` for
    the others. With M = B * H, a step's functions take, by `kinds`,

    - token:  `M x C x rest`, the rows of the chunk, zeros beyond `T`;
    - step, head, row: `M x rest`; what is `H x rest` is repeated for each batch row;
    - shared: `rest`;

    then the states, `M x rest`. They return the outputs, `M x C x rest` per token
    and `M x rest` per step, then the new states. `M` and `C` are `?` in types.

    Operands, attributes and results are those of `rec.scan`, but for what there
    is one of per step (operands and outputs of kind step, entry states): the step
    comes first here, `N x B x H x rest`, so that the slice of a step is one piece.

    Constraints:
    - (C1) `step` and `last` name functions, of one type;
    - (C2) that type has an argument for each operand, then one for each state, and a
      result for each output, then one for each state, as above.

    Example:
    ```mlir
    %o, %s = rec.loop @step last @last chunk 2048 (%k, %q : tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>)
        kinds [0, 0] out_kinds [0] heads [2] states 1 -> tensor<?x?x2x4xf32>, tensor<?x2x4x4xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$step, FlatSymbolRefAttr:$last,
                       Variadic<AnyRankedTensor>:$inputs, Variadic<Rec_Float>:$inits,
                       I64Attr:$chunk, DenseI64ArrayAttr:$kinds, DenseI64ArrayAttr:$out_kinds,
                       DenseI64ArrayAttr:$out_heads, I64Attr:$num_states, UnitAttr:$reverse, UnitAttr:$save_states);
  let results = (outs Variadic<Rec_Float>:$results);
  let assemblyFormat = [{
    $step `last` $last (`reverse` $reverse^)? (`save_states` $save_states^)? `chunk` $chunk
    `(` $inputs `:` type($inputs) `)` (`init` `(` $inits^ `:` type($inits) `)`)?
    `kinds` $kinds `out_kinds` $out_kinds `heads` $out_heads `states` $num_states attr-dict `->` type($results)
  }];
  let extraClassDeclaration = [{
    OperandKind kindOf(unsigned input) { return static_cast<OperandKind>(getKinds()[input]); }
    OperandKind outKindOf(unsigned output) { return static_cast<OperandKind>(getOutKinds()[output]); }
    unsigned getNumOutputs() { return getOutKinds().size(); }
    ::mlir::ResultRange getOutputs() { return getResults().take_front(getNumOutputs()); }
    ::mlir::ResultRange getFinalStates() { return getResults().slice(getNumOutputs(), getNumStates()); }
    ::mlir::ResultRange getEntryStates() { return getResults().drop_front(getNumOutputs() + getNumStates()); }
    /// What a step's function sees of a tensor outside.
    static ::mlir::RankedTensorType wholeType(::mlir::RankedTensorType outer, OperandKind kind);
    /// Number of heads.
    int64_t getHeads();
  }];
}

def Rec_ResetOp : Rec_Op<"reset", [Pure, AllTypesMatch<["state", "result"]>,
    DeclareOpInterfaceMethods<DifferentiableOpInterface, ["buildAdjoint"]>,
    DeclareOpInterfaceMethods<ElementwiseOpInterface>]> {
  let summary = "A state that starts anew where a document begins";
  let description = [{
    `init` (0 without one) where `flag` is not 0, else `state`. The branch not
    taken may be inf or NaN, in value and in gradient; `flag` has no gradient.

    Stands in the body of a token scan, before anything else that uses the state.

    Constraints: (C1) `flag` is one number; (C2) `init` has the type of `state`.

    Example: `%s = rec.reset %S, %f to %s0 : tensor<4x8xf32>, tensor<f32>, tensor<4x8xf32>`
  }];
  let arguments = (ins Rec_Float:$state, Rec_Float:$flag, Optional<Rec_Float>:$init);
  let results = (outs Rec_Float:$result);
  let assemblyFormat = [{
    $state `,` $flag (`to` $init^)? attr-dict `:` type($state) `,` type($flag) (`,` type($init)^)?
  }];
  let hasVerifier = 1;
}

def Rec_YieldOp : Rec_Op<"yield", [Pure, Terminator, ReturnLike, HasParent<"ScanOp">]> {
  let summary = "Outputs and new states of one step";
  let description = [{
    Ends the body of `rec.scan`: outputs first, then the new states.
    Example: `rec.yield %o, %next : tensor<8xf32>, tensor<4x8xf32>`
  }];
  let arguments = (ins Variadic<Rec_Float>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}

def Rec_UnlessLastOp : Rec_Op<"unless_last", [Pure, SameOperandsAndResultType, HasParent<"ScanOp">,
    DeclareOpInterfaceMethods<DifferentiableOpInterface, ["buildAdjoint"]>]> {
  let summary = "One value in every step but the last along time, another in the last";
  let description = [{
    Inside the body of `rec.scan`: `x` in the steps that hold tokens before the
    last chunk, `y` in the step of the last token, whichever way the scan walks.
    A state that yields `unless_last new, entry` is only read in the last chunk:
    that chunk may be partial, so an update never sees its missing rows, and the
    final state is the entry state of the last chunk. Compiled code has one body
    for the last step and one for the others; the operand not taken costs
    nothing there.

    Constraints: (C1) operands and result have one type; (C2) it stands in the
    body of a scan.

    Example: `%next = rec.unless_last %new, %S : tensor<4x8xf32>`
  }];
  let arguments = (ins Rec_Float:$input, Rec_Float:$last);
  let results = (outs Rec_Float:$result);
  let assemblyFormat = "$input `,` $last attr-dict `:` type($result)";
}

def Rec_WhenOp : Rec_Op<"when", [Pure, HasParent<"ScanOp">, AllTypesMatch<["input", "other", "result"]>,
    DeclareOpInterfaceMethods<DifferentiableOpInterface, ["buildAdjoint"]>]> {
  let summary = "One value in the steps that a vector marks, another in the others";
  let description = [{
    Inside the body of `rec.scan`: `x` in the steps in which the last element of
    `flags` is not 0, `y` in the others. Compiled code has a
    body for each of the two; the operand not taken costs nothing.

    Constraints: (C1) `flags` is a vector that enters the body of a token scan, as
    a state or (in its adjoint) as an operand; all such ops of a body have the
    same flags.

    Example: `%next = rec.when %flags, %new, %S : tensor<16xf32>, tensor<4x8xf32>`
  }];
  let arguments = (ins Rec_Float:$flags, Rec_Float:$input, Rec_Float:$other);
  let results = (outs Rec_Float:$result);
  let assemblyFormat = "$flags `,` $input `,` $other attr-dict `:` type($flags) `,` type($result)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Tiles of the chunk form. Rows are tokens of a chunk, token-major: row
// `t * n + i` is the i-th of n events of token t.
//===----------------------------------------------------------------------===//

class Rec_TileOp<string mnemonic, list<Trait> traits = []>
    : Rec_Op<mnemonic, traits # [Pure, DeclareOpInterfaceMethods<DifferentiableOpInterface, ["buildAdjoint"]>]>;

def Rec_CumsumOp : Rec_TileOp<"cumsum", [SameOperandsAndResultType]> {
  let summary = "Cumulative sum over rows";
  let description = [{
    `y[i] = sum_{j <= i} x[j]` over dimension 0; with `reverse` over `j >= i`;
    with `exclusive` the row itself is left out.

    Constraints: (C1) the operand has a static first dimension.

    Example: `%y = rec.cumsum %x reverse exclusive : tensor<64x8xf32>`
  }];
  let arguments = (ins Rec_Float:$input, UnitAttr:$reverse, UnitAttr:$exclusive);
  let results = (outs Rec_Float:$result);
  let assemblyFormat = "$input (`reverse` $reverse^)? (`exclusive` $exclusive^)? attr-dict `:` type($input)";
  let hasVerifier = 1;
}

/// Shared text: rows, positions, gates.
class Rec_DecayOp<string mnemonic> : Rec_TileOp<mnemonic, [AttrSizedOperandSegments]> {
  let results = (outs Rec_Float:$result);
  let hasVerifier = 1;
  code decayMethods = [{
    /// True if column event `m` happens before row event `j`.
    bool isBefore(int64_t m, int64_t j) {
      int64_t nr = getRowPositions().size(), nc = getColPositions().size();
      int64_t tm = m / nc, tj = j / nr;
      return tm < tj || (tm == tj && getColPositions()[m % nc] < getRowPositions()[j % nr]);
    }
  }];
}

def Rec_DecayScoresOp : Rec_DecayOp<"decay_scores"> {
  let summary = "Causal products of rows under decay";
  let description = [{
    `P[j, m] = sum_d q[j, d] k[m, d] e^(Gq[j, d] - Gk[m, d])` where event m is
    before event j, else 0. Rows of `q` are events at the places
    `row_positions` of each token, rows of `k` at `col_positions`; an earlier
    token is before, and within a token the smaller place. Gates `Gq`, `Gk` are
    cumulative log decays, `rows x K` or `rows x 1`; without them there is no
    decay. Gates fall along time, so that every exponent used is <= 0; entries
    that are not before are never evaluated.

    Source: the M and P of the chunk form of affine recurrences.

    Constraints: (C1) `q`, `k` are matrices of one width; (C2) their rows are
    multiples of the numbers of positions, with equally many tokens; (C3) both
    gates or none, with rows as `q` and `k`, and width 1 or that of `q`.

    Example:
    ```mlir
    %p = rec.decay_scores %q, %k gates %gq, %gk at [2] x [1]
        : (tensor<64x8xf32>, tensor<64x8xf32>, tensor<64x8xf32>, tensor<64x8xf32>) -> tensor<64x64xf32>
    ```
  }];
  let arguments = (ins Rec_Float:$rows, Rec_Float:$cols, Optional<Rec_Float>:$row_gate, Optional<Rec_Float>:$col_gate,
                       DenseI64ArrayAttr:$row_positions, DenseI64ArrayAttr:$col_positions);
  let assemblyFormat = [{
    $rows `,` $cols (`gates` $row_gate^ `,` $col_gate)? `at` $row_positions `x` $col_positions attr-dict
    `:` functional-type(operands, $result)
  }];
  let extraClassDeclaration = decayMethods;
}

def Rec_DecayMixOp : Rec_DecayOp<"decay_mix"> {
  let summary = "Causal weighted sums of rows under decay";
  let description = [{
    `y[j, d] = sum_m P[j, m] x[m, d] e^(Gq[j, d] - Gk[m, d])` over the events m
    before j; with `transposed`, `y[m, d] = sum_j P[j, m] x[j, d] e^(...)` over
    the events j after m. Entries of `P` that are not before are not read.
    Positions and gates as in `rec.decay_scores`: `row_positions` belong to the
    rows of `P`.

    Constraints: (C1) `P` is a matrix, and `x` has as many rows as `P` has
    columns (rows if `transposed`); (C2), (C3) as there.

    Example:
    ```mlir
    %y = rec.decay_mix %p, %k gates %gq, %gk at [2] x [1]
        : (tensor<64x64xf32>, tensor<64x8xf32>, tensor<64x8xf32>, tensor<64x8xf32>) -> tensor<64x8xf32>
    ```
  }];
  let arguments = (ins Rec_Float:$scores, Rec_Float:$input, Optional<Rec_Float>:$row_gate,
                       Optional<Rec_Float>:$col_gate, DenseI64ArrayAttr:$row_positions,
                       DenseI64ArrayAttr:$col_positions, UnitAttr:$transposed);
  let assemblyFormat = [{
    (`transposed` $transposed^)? $scores `,` $input (`gates` $row_gate^ `,` $col_gate)?
    `at` $row_positions `x` $col_positions attr-dict `:` functional-type(operands, $result)
  }];
  let extraClassDeclaration = decayMethods;
}

def Rec_DecaySolveOp : Rec_DecayOp<"decay_solve"> {
  let summary = "Unit lower triangular solve under decay";
  let description = [{
    The `N` of `N[n, d] = Y[n, d] + F[n, d] sum_m M[n, m] N[m, d] e^(Gq[n, d] - Gk[m, d])`
    over the events m before n: every channel d has a system of its own. With
    `transposed`, of `N[m, d] = Y[m, d] + sum_n M[n, m] F[n, d] N[n, d] e^(...)`
    over the events n after m. Entries of `M` that are not before are not read.
    Without a factor `F` is 1. Rows and columns are the same events: an event
    takes part in rows at its place in `row_positions`, in columns at its place,
    which is not earlier, in `col_positions`. Gates as in `rec.decay_scores`, one
    per channel.

    Source: adds that read a state whose values decay.

    Constraints: (C1) `M` is square with as many rows as `Y`; (C2) `F` has the
    type of `Y`; (C3) as many row as column positions, none of a row behind that
    of its column; (C4) both gates or none, of the type of `Y`, whose rows are a
    multiple of the number of positions.

    Example:
    ```mlir
    %n = rec.decay_solve %m, %y gates %gq, %gk at [1] x [1]
        : (tensor<64x64xf32>, tensor<64x8xf32>, tensor<64x8xf32>, tensor<64x8xf32>) -> tensor<64x8xf32>
    ```
  }];
  let arguments = (ins Rec_Float:$matrix, Rec_Float:$rhs, Optional<Rec_Float>:$factor, Optional<Rec_Float>:$row_gate,
                       Optional<Rec_Float>:$col_gate, DenseI64ArrayAttr:$row_positions,
                       DenseI64ArrayAttr:$col_positions, UnitAttr:$transposed);
  let assemblyFormat = [{
    (`transposed` $transposed^)? $matrix `,` $rhs (`factor` $factor^)? (`gates` $row_gate^ `,` $col_gate)?
    `at` $row_positions `x` $col_positions attr-dict `:` functional-type(operands, $result)
  }];
  let extraClassDeclaration = decayMethods;
}

def Rec_SolveUnitLowerOp : Rec_TileOp<"solve_unit_lower"> {
  let summary = "Unit lower triangular solve";
  let description = [{
    `N = (I - M)^-1 Y`, with `transposed` `(I - M)^-T Y`. Only the strictly
    lower part of `M` is read.

    Constraints: (C1) `M` is square with as many rows as `Y`.

    Example: `%n = rec.solve_unit_lower %m, %y : tensor<64x64xf32>, tensor<64x8xf32> -> tensor<64x8xf32>`
  }];
  let arguments = (ins Rec_Float:$matrix, Rec_Float:$rhs, UnitAttr:$transposed);
  let results = (outs Rec_Float:$result);
  let assemblyFormat = "(`transposed` $transposed^)? $matrix `,` $rhs attr-dict `:` type($matrix) `,` type($rhs) `->` type($result)";
  let hasVerifier = 1;
}

def Rec_StrictlyLowerOp : Rec_TileOp<"strictly_lower", [SameOperandsAndResultType]> {
  let summary = "The strictly lower part of a matrix";
  let description = [{
    `y[i, j] = x[i, j]` where `i > j`, else 0.

    Constraints: (C1) the operand is a matrix.

    Example: `%y = rec.strictly_lower %x : tensor<64x64xf32>`
  }];
  let arguments = (ins Rec_Float:$input);
  let results = (outs Rec_Float:$result);
  let assemblyFormat = "$input attr-dict `:` type($input)";
  let hasVerifier = 1;
}

#endif
