//===- Generate.h - Text from a model, token by token -----------*- C++ -*-===//
// The prompt is fed once; after that each token costs one step of the carried
// recurrent state, however long the text is.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/data/TextCodec.h"
#include "runtime/train/Model.h"
#include "runtime/train/Sampler.h"

#include <functional>
#include <string>
#include <string_view>

namespace tidegate::train {

/// Samples up to `maxTokens` tokens after `prompt` (an empty one is what begins
/// a text, or else a new line) and returns their text; ends early at an id that
/// says so. Only ids that stand for text and such ends are drawn. `onText`, when
/// given, sees the text as it grows.
/// Errors: InvalidArgument when the model's vocabulary does not hold the tokenizer's texts.
std::string generateText(Model &model, const data::TextCodec &codec, std::string_view prompt, int64_t maxTokens,
                         const SamplerConfig &config, const std::function<void(std::string_view)> &onText = {});

} // namespace tidegate::train
