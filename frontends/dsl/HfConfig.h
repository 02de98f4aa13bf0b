//===- HfConfig.h - Reference config.json and params ------------*- C++ -*-===//
// A checkpoint of a reference implementation comes with a config.json. One
// table per `model_type` says which keys become params of our program, which
// must have the one value that our program implements, and which do not matter.
// Everything else is an error that names the key: an option that is not known
// may change the model. The same table writes a config.json.
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

/// A model of the reference implementation as a program of ours.
struct ReferenceModel {
  std::string modelType; ///< `gla`, ...
  std::string example;   ///< The program, a key of exampleFiles().
  ParamOverrides params; ///< As --set takes them.
};

/// The model types there are, without params.
std::vector<ReferenceModel> referenceModels();

/// What a config.json means; each of its mistakes is a diagnostic.
std::optional<ReferenceModel> readConfig(const std::string &path, Diagnostics &diagnostics);
std::optional<ReferenceModel> readConfigText(llvm::StringRef text, llvm::StringRef name, Diagnostics &diagnostics);

/// The config.json of a model whose params are all those of its program;
/// `dtype` is the reference's name of the weights' type (`float32`). Nothing,
/// and `why` continues "because ...", when a param is missing or no number.
std::optional<std::string> writeConfig(const ReferenceModel &model, llvm::StringRef dtype, std::string &why);

/// The params (as --set takes them) that a config.json means.
std::optional<ParamOverrides> paramsFromConfig(const std::string &path, Diagnostics &diagnostics);

/// The same for the text of a config; `name` stands for it in messages.
std::optional<ParamOverrides> paramsFromConfigText(llvm::StringRef text, llvm::StringRef name,
                                                   Diagnostics &diagnostics);

} // namespace tidegate::dsl
#endif
