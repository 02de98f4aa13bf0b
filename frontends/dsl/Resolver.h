//===- Resolver.h - Names, arity and structure ------------------*- C++ -*-===//
// Checks every function, reached by the model or not: names are known, calls
// fit their definition, statements stand where they may. Shapes are checked
// later, when a function is elaborated with actual sizes.
//===----------------------------------------------------------------------===//
#ifndef TIDEGATE_FRONTENDS_DSL_RESOLVER_H
#define TIDEGATE_FRONTENDS_DSL_RESOLVER_H

#include "frontends/dsl/Symbols.h"

namespace tidegate::dsl {

void resolveFunction(const Function &function, const Symbols &symbols, Diagnostics &diagnostics);

} // namespace tidegate::dsl
#endif
