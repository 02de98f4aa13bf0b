//===- Passes.td - Passes over recurrences -----------------*- tablegen -*-===//
#ifndef TIDEGATE_PASSES_REC
#define TIDEGATE_PASSES_REC

include "mlir/Pass/PassBase.td"

def RecToChunk : Pass<"rec-to-chunk", "::mlir::ModuleOp"> {
  let summary = "Token scans that are affine in their state become chunk scans";
  let description = [{
    Reads the body of each `rec.scan` with `chunk 1` and one matrix state as
    events (`scale`, `add`, `read`) and writes the chunk form of that event
    program. A scan of several states becomes one scan for each of them first, in an
    order in which none needs what a later one reads; a vector is a matrix with a side
    of 1. Arithmetic that does not need the state moves out of the scan, to
    whole `B x T x H` tensors before and after it; the chunk body holds the
    events alone.

    A body that is not affine in the state is an error at the term that is not.
    A body that is affine but has no such form, states that need each other, and
    every scan with entry states or that runs backwards stay as they are; where
    that may surprise, a warning names the op. Scans that are chunked already
    are left alone. A token scan without states is replaced by ops on all tokens.

    Example: tests/passes/Rec/rec-to-chunk.mlir.
  }];
  let options = [Option<"chunk", "chunk", "int64_t", "64", "Tokens of a chunk (at least 2)">,
                 Option<"narrowChunk", "narrow-chunk", "int64_t", "0",
                        "Tokens of a chunk of scans whose keys are at most 64 wide; 0: as for the others">,
                 Option<"innerScales", "inner-scales", "bool", "false",
                        "Numbers that scale keys, values, readers or results are applied in the chunks, not to whole tensors">,
                 Option<"valuesFirst", "values-first", "bool", "false", "States are V x K in the chunk form, not K x V">,
                 Option<"vectors", "vectors", "bool", "true",
                        "Scans whose states are all vectors too; a processor with few cores is faster token by token">,
                 Option<"remarks", "remarks", "bool", "false", "Say at each decay how it is evaluated, and why">,
                 Option<"halfProducts", "half-products", "bool", "false",
                        "Products may round what they multiply to bfloat16: sums of log decays enter them in exact "
                        "parts, and gradients of decays of the values come from pairs of events">];
  let dependentDialects = ["::tidegate::nn::NnDialect", "::tidegate::rec::RecDialect"];
}

def NnDocuments : Pass<"nn-documents", "::mlir::ModuleOp"> {
  let summary = "Rows of several documents: nothing looks across a boundary";
  let description = [{
    Gives every public function, and every function that it calls and that looks
    along time, an argument `positions: B x T x i32` behind the others (the entry's
    own argument with `nn.name = "positions"`, if it has one): the position of
    each token in its document, 0 where one begins. With it

    - the states of token scans start anew (`rec.reset`) at position 0, from the
      value that the scan starts with;
    - short convolutions and attention see no row of another document;
    - `nn.positions` is the argument.

    A row may begin in the middle of a document; then it goes on from the states
    and pasts that the entry is given. Scans over chunks ignore documents. Runs
    before rec-to-chunk and autodiff.

    Example: tests/passes/Rec/nn-documents.mlir.
  }];
  let dependentDialects = ["::tidegate::nn::NnDialect", "::tidegate::rec::RecDialect"];
}

def RecSinkLowRank : Pass<"rec-sink-low-rank", "::mlir::ModuleOp"> {
  let summary = "Low-rank projections move into chunk scans";
  let description = [{
    A chunk scan that reads `heads(t W^T)`, `t: B x T x r` and `W: n x r` with
    `r <= n / 2`, takes `t` as an operand of one head and the rows of `W` by
    heads instead, and forms the product in its body. Row-wise work in between
    (element-wise ops, sums over the channels of a head, reshapes to heads, a
    short convolution, whose last rows become a state) moves too. Neither the
    product nor, through the adjoint of the scan, its gradient is in memory: that
    of `t` is summed over heads, that of `W` over tokens.

    A value that something else uses as well stays where it is. Runs after
    rec-to-chunk and before autodiff.

    Example: tests/passes/Rec/rec-sink-low-rank.mlir.
  }];
  let dependentDialects = ["::tidegate::nn::NnDialect", "::tidegate::rec::RecDialect"];
}

def RecNarrowValues : Pass<"rec-narrow-values", "::mlir::ModuleOp"> {
  let summary = "Chunk scans of wide states have more heads of narrow ones";
  let description = [{
    A chunk scan whose state, V x K, has more than `elements` numbers becomes one
    with n times the heads, the smallest n with which it has no more: head h of the
    new scan works on V / n rows of the state of head h / n, and shares its queries,
    keys and gates. Only shapes change, since the rows of a state do not meet and lie
    one after another in memory. Scans where they meet stay, and so do those that
    sum an output over heads. With `thorough` also scans of several states of one
    size become narrower, and those with operands or outputs in which the rows do not
    follow the heads: these are transposed before and after the scan.

    Example: tests/passes/Rec/rec-narrow-values.mlir.
  }];
  let options = [Option<"elements", "elements", "int64_t", "16384", "Numbers of a state at most">,
                 Option<"thorough", "thorough", "bool", "false",
                        "Also scans of several states, and rows that lie apart in memory, which are transposed">];
  let dependentDialects = ["::tidegate::nn::NnDialect", "::tidegate::rec::RecDialect"];
}

def RecSplit : Pass<"rec-split", "::mlir::ModuleOp"> {
  let summary = "Chunk scans become a chain of states between scans without states";
  let description = [{
    For processors with many cores. A chunk scan with outputs becomes up to three:
    one without states for what the chain needs and no state enters (the inverse of
    `I - M`, keys and queries with their decays), kept per step or token; one with the states, which
    keeps its entry states and the rows of tokens that it computes from them and the
    outputs need too (pseudo-values); and one without states that computes the
    outputs from all that. Scans without states run their steps side by side. Solves
    become products with the inverse.

    Example: tests/passes/Rec/rec-split.mlir.
  }];
  let dependentDialects = ["::tidegate::nn::NnDialect", "::tidegate::rec::RecDialect"];
}

def RecToLoop : Pass<"rec-to-loop", "::mlir::ModuleOp"> {
  let summary = "Scans over chunks of the language become loops over whole tensors";
  let description = [{
    A scan whose steps are few and large, `scan over chunks` of the language or the
    adjoint of one, becomes `rec.loop`: a step is a function of tensors over all
    batch rows and heads, of batched products and row-wise work, which the passes
    and kernels of the graph serve. There is one function for the step of the last
    token and one for the others (`rec.unless_last`). Chunk scans that come from
    recurrences of tokens stay. Runs after autodiff and before nn-fuse.

    Example: tests/passes/Rec/rec-to-loop.mlir.
  }];
  let dependentDialects = ["::tidegate::nn::NnDialect", "::tidegate::rec::RecDialect", "::mlir::func::FuncDialect"];
}

def RecLevelSteps : Pass<"rec-level-steps", "::mlir::ModuleOp"> {
  let summary = "Equal ops of a loop's steps stand side by side";
  let description = [{
    Orders the ops of the functions that `rec.loop` calls by depth, and puts those
    of one depth that are alike next to each other: the plan makes one step of them,
    over several pieces of one buffer. Runs after nn-fuse.

    Example: tests/passes/Rec/rec-level-steps.mlir.
  }];
  let dependentDialects = ["::tidegate::nn::NnDialect", "::tidegate::rec::RecDialect"];
}

def RecExposeStates : Pass<"rec-expose-states", "::mlir::ModuleOp"> {
  let summary = "States of scans, pasts of convolutions and attentions become arguments and results";
  let description = [{
    For decoding with a carried state: every scan that the entry function
    reaches takes its states from new arguments of its function and returns them
    as new results. Carried values are zero before the first call; where a scan
    starts from values of its own, one more state says whether there was a call
    before. A scan over chunks whose last chunk only reads (`rec.unless_last`)
    first becomes a token scan with a buffer for the rows of the chunk so far,
    exact for every prefix. With `pieces` it carries the same rows, but is fed
    pieces of many tokens, all of one chunk: they read the states of its begin,
    which `full` updates from the rows of the chunk before them, where that is full.
    Every `nn.short_conv` carries its past, the W-1 inputs
    before the sequence, and every `nn.attention` the W-1 keys and values before.
    Calls are followed, so that a function called 24 times gives the entry
    function 24 states of each kind. Where
    positions matter, the entry carries the number of tokens before as its last
    state, `tokens`, and hands the positions that follow from it on to `nn.positions`
    and `nn.attention` in all functions, in an argument behind the states.
    New arguments and results come last, in the order of the program, and carry
    `nn.state = "path"`, a name that is unique in the entry function.

    A function that is not reached keeps its form; one that is reached and also
    called from elsewhere is an error, because its type changes.

    Examples: tests/passes/Rec/rec-expose-states.mlir, rec-expose-states-pieces.mlir.
  }];
  let options = [Option<"entry", "entry", "std::string", "\"model\"", "The function that carries the states">,
                 Option<"pieces", "pieces", "bool", "false", "Scans over chunks take pieces of tokens">,
                 ListOption<"full", "full", "int64_t", "With pieces: chunks of so many tokens are full before">];
  let dependentDialects = ["::tidegate::nn::NnDialect", "::tidegate::rec::RecDialect"];
}

#endif
