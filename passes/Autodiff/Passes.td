//===- Passes.td - Differentiation passes ------------------*- tablegen -*-===//
#ifndef TIDEGATE_AUTODIFF_PASSES
#define TIDEGATE_AUTODIFF_PASSES

include "mlir/Pass/PassBase.td"

def AutodiffPass : Pass<"autodiff", "::mlir::ModuleOp"> {
  let summary = "Make a forward and a backward of functions";
  let description = [{
    For `@f` makes `@f.fwd`, which returns the results of `@f` and then the
    residuals, and `@f.bwd`, which takes the arguments and results of `@f` that
    it needs, the residuals, and one cotangent per float result, and returns one
    cotangent per float argument. `nn.gradient` on `@f.bwd` lists the arguments
    and results it takes.

    Residuals are results of products, scans, lookups and calls; all else is
    computed again. A called function is differentiated once.

    Example: `tests/passes/Autodiff/autodiff.mlir`.
  }];
  let options = [
    ListOption<"functions", "functions", "std::string", "Functions to differentiate (default: every public one)">,
    Option<"policy", "policy", "std::string", /*default=*/"\"none\"",
           "Calls that keep only their arguments for the backward and are run again: none, block (all), or how "
           "many of the first">,
  ];
  let dependentDialects = ["::mlir::func::FuncDialect", "::tidegate::nn::NnDialect"];
}

def BuildLossPass : Pass<"build-loss", "::mlir::ModuleOp"> {
  let summary = "Make the loss of a model and its gradient";
  let description = [{
    For `@model(%ids, weights...) -> logits` makes

    - `@loss(%ids, %labels, weights...)`: the sum of the cross entropies of all
      positions with a label >= 0, and their number;
    - `@loss_and_grads(%ids, %labels, weights...)`: their mean and its gradient
      by every weight.

    Both call `@model.hidden`, the model without its last product, for the whole
    batch, and the rest (`@nll`, `@nll.grad`) for blocks of rows (`nn.blocks`), of
    which there are as many as a row of logits is wider than a hidden row, at most 8.

    Examples: `tests/passes/Autodiff/build-loss.mlir`, `build-loss-head.mlir`.
  }];
  let options = [
    Option<"model", "model", "std::string", /*default=*/"\"model\"", "The function that gives the logits">,
    Option<"policy", "policy", "std::string", /*default=*/"\"none\"", "As in autodiff">,
  ];
  let dependentDialects = ["::mlir::func::FuncDialect", "::tidegate::nn::NnDialect"];
}

def BuildScoresPass : Pass<"build-scores", "::mlir::ModuleOp"> {
  let summary = "Make the scores of a model's labels";
  let description = [{
    For `@model(%ids, weights...) -> logits` makes `@scores(%ids, %labels,
    weights...)`: of every position the logarithm of the label's probability, and 1
    if the label is the likeliest id, the first of equals, else 0; both are 0 where
    the label is below 0.

    It calls `@model.hidden` for the whole batch and the rest (`@scores.rows`) for
    blocks of rows, as `build-loss` does.

    Example: `tests/passes/Autodiff/build-scores.mlir`.
  }];
  let options = [
    Option<"model", "model", "std::string", /*default=*/"\"model\"", "The function that gives the logits">,
  ];
  let dependentDialects = ["::mlir::func::FuncDialect", "::tidegate::nn::NnDialect"];
}

def LastLogitsPass : Pass<"last-logits", "::mlir::ModuleOp"> {
  let summary = "A model gives the logits after the last token alone";
  let description = [{
    For decoding: `@model(%ids, weights...) -> logits` computes its head, the product
    that gives logits and what follows it, for the last row alone, so that no logits
    of other tokens are in memory. The type of the result stays `? x ? x V`; the
    second `?` is 1.

    Example: `tests/passes/Autodiff/last-logits.mlir`.
  }];
  let options = [
    Option<"model", "model", "std::string", /*default=*/"\"model\"", "The function that gives the logits">,
  ];
  let dependentDialects = ["::tidegate::nn::NnDialect"];
}

#endif
