//===- VectorUnit.cpp - Vector registers of the host ------------*- C++ -*-===//
#include "compiler/CodeGen/CPU/VectorUnit.h"

#include "llvm/TargetParser/Host.h"

using namespace mlir;
using namespace tidegate::cpu;

const VectorUnit &VectorUnit::host() {
  static const VectorUnit unit = [] {
    auto features = llvm::sys::getHostCPUFeatures();
    auto has = [&](llvm::StringRef name) { return features.lookup(name); };
    if (has("avx512f"))
      return VectorUnit{512, 32};
    if (has("avx"))
      return VectorUnit{256, 16};
    return has("neon") ? VectorUnit{128, 32} : VectorUnit{128, 16};
  }();
  return unit;
}

void tidegate::cpu::forVectors(Code &code, Type type, int64_t width, llvm::function_ref<void(Value, VectorType)> body) {
  int64_t lanes = VectorUnit::host().lanes(type), full = width / lanes * lanes;
  code.loop(code.i64(0), code.i64(full), lanes, [&](Value d) { body(d, VectorType::get({lanes}, type)); });
  for (int64_t d = full; d < width;) {
    while (lanes > width - d)
      lanes /= 2;
    body(code.i64(d), VectorType::get({lanes}, type));
    d += lanes;
  }
}
