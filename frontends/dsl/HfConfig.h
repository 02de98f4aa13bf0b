//===- HfConfig.h - Reference config.json to params -------------*- C++ -*-===//
// A checkpoint of a reference implementation comes with a config.json. One
// table per `model_type` says which keys become params of our program, which
// must have the one value that our program implements, and which do not matter.
// Everything else is an error that names the key: an option that is not known
// may change the model.
//===----------------------------------------------------------------------===//
#ifndef TIDEGATE_FRONTENDS_DSL_HFCONFIG_H
#define TIDEGATE_FRONTENDS_DSL_HFCONFIG_H

#include "frontends/dsl/Diagnostics.h"
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace tidegate::dsl {

using ParamOverrides = std::vector<std::pair<std::string, std::string>>;

/// The params (as --set takes them) that a config.json means.
std::optional<ParamOverrides> paramsFromConfig(const std::string &path, Diagnostics &diagnostics);

/// The same for the text of a config; `name` stands for it in messages.
std::optional<ParamOverrides> paramsFromConfigText(llvm::StringRef text, llvm::StringRef name,
                                                   Diagnostics &diagnostics);

} // namespace tidegate::dsl
#endif
