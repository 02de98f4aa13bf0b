//===- tidegate-opt.cpp - Pass driver for tests -----------------*- C++ -*-===//
#include "ir/InitAllDialects.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "mlir/Transforms/Passes.h"
#include "passes/InitAllPasses.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  tidegate::registerAllDialects(registry);
  tidegate::registerAllPasses();
  mlir::registerCanonicalizerPass();
  mlir::registerCSEPass();
  mlir::registerSymbolDCEPass();
  mlir::registerInlinerPass();
  return mlir::asMainReturnCode(mlir::MlirOptMain(argc, argv, "Tidegate pass driver\n", registry));
}
