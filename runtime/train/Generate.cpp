//===- Generate.cpp - The decoding loop -------------------------*- C++ -*-===//
// Only bytes and the end-of-text token can be drawn; other ids of the
// vocabulary are padding.
//===----------------------------------------------------------------------===//
#include "runtime/train/Generate.h"

#include "runtime/core/Error.h"
#include "runtime/train/ByteTokenizer.h"

#include <cmath>

using namespace tidegate::train;
using tidegate::runtime::Dtype;
using tidegate::runtime::RuntimeError;

std::string tidegate::train::generateText(Model &model, std::string_view prompt, int64_t maxTokens,
                                          const SamplerConfig &config, const std::function<void(char)> &onByte) {
  if (model.vocab() < ByteTokenizer::kBytes)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument, "expected a vocabulary of 256 or more to write bytes, "
                                                            "but the model's is " + std::to_string(model.vocab()));
  auto decoder = model.decoder(1);
  std::vector<int32_t> pending = ByteTokenizer::encode(prompt.empty() ? "\n" : prompt);
  std::string text;
  for (int64_t i = 0; i < maxTokens; ++i) {
    runtime::HostTensor row = decoder->feed(pending, static_cast<int64_t>(pending.size())).to(Dtype::F64);
    std::span<double> logits = row.as<double>();
    for (size_t id = ByteTokenizer::kBytes; id < logits.size(); ++id)
      if (id != static_cast<size_t>(ByteTokenizer::kEos))
        logits[id] = -INFINITY;
    int32_t token = sampleToken(logits, config, i);
    if (token == ByteTokenizer::kEos)
      break;
    text += static_cast<char>(token);
    if (onByte)
      onByte(text.back());
    pending = {token};
  }
  return text;
}
