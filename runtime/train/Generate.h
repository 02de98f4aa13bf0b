//===- Generate.h - Text from a model, byte by byte -------------*- C++ -*-===//
// The prompt is fed once; after that each token costs one step of the carried
// recurrent state, however long the text is.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/train/Model.h"
#include "runtime/train/Sampler.h"

#include <functional>
#include <string>
#include <string_view>

namespace tidegate::train {

/// Samples up to `maxTokens` bytes after `prompt` (an empty one starts like a
/// new line) and returns them without it; ends early at the end-of-text token.
/// `onByte`, when given, sees every byte as it is drawn.
std::string generateText(Model &model, std::string_view prompt, int64_t maxTokens, const SamplerConfig &config,
                         const std::function<void(char)> &onByte = {});

} // namespace tidegate::train
