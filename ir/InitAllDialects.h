//===- InitAllDialects.h - Every dialect a module may use -------*- C++ -*-===//
#pragma once

#include "ir/Nn/NnDialect.h"
#include "ir/Rec/RecDialect.h"
#include "ir/Tile/TileDialect.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace tidegate {
inline void registerAllDialects(mlir::DialectRegistry &registry) {
  registry.insert<mlir::func::FuncDialect, nn::NnDialect, rec::RecDialect, tile::TileDialect>();
}
} // namespace tidegate
