//===- Passes.td - Passes inside the graph dialect ---------*- tablegen -*-===//
#ifndef TIDEGATE_PASSES_NN
#define TIDEGATE_PASSES_NN

include "mlir/Pass/PassBase.td"

def FuseRows : Pass<"nn-fuse", "::mlir::func::FuncOp"> {
  let summary = "Group row-wise ops into nn.map";
  let description = [{
    Puts every loose element-wise op, broadcast, inner reduction, index op and
    sum over rows of a function into `nn.map` bodies. Afterwards the function
    holds only maps, products, scans, lookups, calls and reshapes, which are
    free.

    Ops of equal row space share a map if one uses the other's value, or both
    read one large tensor, and no product, scan or call stands between them;
    these keep their order. A value that is needed in several maps is stored
    once, or computed again where that reads and writes less.

    Errors: an op that mixes row spaces, or that reduces only some of the row
    dimensions.

    Example: `tests/passes/Nn/nn-fuse.mlir`.
  }];
  let dependentDialects = ["::tidegate::nn::NnDialect"];
}

def SplitRows : Pass<"nn-split-rows", "::mlir::func::FuncOp"> {
  let summary = "Maps over few rows that are matrices become maps over the rows of these";
  let description = [{
    For processors with many cores. After nn-fuse, a map over at most one row
    dimension whose rows are large matrices (weights, states of all batch rows and
    heads) is cut in two: what works along the rows of the matrices becomes a map over one row
    dimension more, and numbers that need a whole matrix, a norm or a mean, a map
    before it.

    Example: tests/passes/Nn/nn-split-rows.mlir.
  }];
  let options = [Option<"elements", "elements", "int64_t", "8192", "Numbers of a matrix at least">];
  let dependentDialects = ["::tidegate::nn::NnDialect"];
}

def Storage : Pass<"nn-storage", "::mlir::ModuleOp"> {
  let summary = "Which values are kept in bfloat16";
  let description = [{
    After nn-fuse, for training in bfloat16: every op gets `nn.storage`, the element
    types in memory of its operands and results. In bfloat16 are wide rows of tokens
    (activations, their gradients, entry states); in float everything else: weights
    and their gradients, carried states, rows of at most 32 numbers (rates, gates,
    norms, losses), log decays of any width, and what the entry functions take and
    return. In a function with `nn.exact`, what no product reads is in float as well.
    In the steps of a rec.loop, what products read and no state keeps is in
    bfloat16 too. Operands of products that are kept in float, weights above all, are
    cast by a map. Arithmetic inside maps and scans stays in float.

    Example: tests/passes/Nn/nn-storage.mlir.
  }];
  let dependentDialects = ["::tidegate::nn::NnDialect", "::tidegate::rec::RecDialect"];
}

def RoundStored : Pass<"nn-round-stored", "::mlir::ModuleOp"> {
  let summary = "Values kept in bfloat16 become values rounded to it";
  let description = [{
    After nn-storage, of a program in f64: where a value would be kept in bfloat16 stands a
    map that rounds it, `y = cx - (cx - x)` with `c = 2^45 + 1`, and nothing is kept in
    bfloat16 any more. The program then computes what an exact machine with the memory
    of bf16 would: how far it is from f64 is what that memory costs.

    Example: tests/passes/Nn/nn-round-stored.mlir.
  }];
  let dependentDialects = ["::tidegate::nn::NnDialect"];
}

#endif
