//===- Ladder.h - A program's compiled forms against each other -*- C++ -*-===//
// The fp64 token form is the oracle. Rungs: chunk form = token form; derived
// gradients of both = each other = finite differences; decoding with carried
// state = full forward; f32 = f64 to rounding; packed documents = separate runs;
// on the GPU bf16 = f64 to the share of bfloat16, or to what memory in it costs, decoding included.
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/tools/tidegate/verify/Report.h"
#include "runtime/train/Model.h"

namespace tidegate::tool {

/// The same program, compiled several ways; rungs of those that are null are left out.
struct LadderModels {
  train::Model &chunk64;
  train::Model *token64 = nullptr, *chunk32 = nullptr;
  train::Model *documents64 = nullptr; ///< Chunk form with documents; null if the program does not separate them.
  train::Model *documents32 = nullptr; ///< The same in f32.
  train::Model *chunk16 = nullptr;     ///< bf16 on the GPU; null on the CPU.
  train::Model *rounded64 = nullptr;   ///< CompileOptions::roundsStored, for what bf16 misses; null: bounds stand.
};

struct LadderSizes {
  int64_t batch = 2;
  std::vector<int64_t> lengths = {1, 2, 15, 16, 17, 63, 64, 65, 130}; ///< Around chunk sizes, and several of them.
  uint64_t seed = 1;
};

/// Bounds of bfloat16, by root mean square: of a tensor, and of the worst of its rows.
struct HalfBound {
  double tensor;
  double row() const { return 3 * tensor; }
};
/// Adds the two rows of a tensor in bf16 against f64.
void addHalf(VerifyReport &report, const std::string &check, const std::string &tensor, const RmsErrors &errors,
             HalfBound bound);

/// Fills all models with the same random weights, all of them off their
/// trivial initial values, climbs the rungs and adds their rows.
void climbLadder(const LadderModels &models, const LadderSizes &sizes, VerifyReport &report);

} // namespace tidegate::tool
