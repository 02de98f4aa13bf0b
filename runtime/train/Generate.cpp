//===- Generate.cpp - The decoding loop -------------------------*- C++ -*-===//
// Other ids of the vocabulary are padding.
//===----------------------------------------------------------------------===//
#include "runtime/train/Generate.h"

#include "runtime/core/Error.h"

#include <algorithm>
#include <cmath>

using namespace tidegate::train;
using tidegate::runtime::Dtype;
using tidegate::runtime::RuntimeError;
namespace data = tidegate::data;

/// Which of the model's ids may be drawn.
static std::vector<bool> drawable(int64_t vocab, const data::TextCodec &codec) {
  std::vector<bool> may(vocab);
  for (int64_t id = 0; id < codec.tokenizer->vocab(); ++id) {
    if (!codec.tokenizer->isText(static_cast<int32_t>(id)))
      continue;
    if (id >= vocab)
      throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                         "expected a vocabulary of more than " + std::to_string(id) + " to write with this tokenizer (" +
                             codec.tokenizer->description() + "), but the model's is " + std::to_string(vocab));
    may[id] = true;
  }
  for (int32_t id : codec.ends())
    if (id < vocab)
      may[id] = true;
  return may;
}

std::string tidegate::train::generateText(Model &model, const data::TextCodec &codec, std::string_view prompt,
                                          int64_t maxTokens, const SamplerConfig &config,
                                          const std::function<void(std::string_view)> &onText) {
  const std::vector<bool> may = drawable(model.vocab(), codec);
  const std::vector<int32_t> ends = codec.ends();
  std::vector<int32_t> pending = codec.encode(prompt);
  if (pending.empty())
    pending = codec.encode("\n");
  if (pending.empty())
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       "expected a prompt: the tokenizer has no token that begins a text");
  auto decoder = model.decoder(1);
  data::TextStream stream(*codec.tokenizer, pending);
  std::string text;
  auto give = [&](const std::string &part) {
    text += part;
    if (onText && !part.empty())
      onText(part);
  };
  for (int64_t i = 0; i < maxTokens; ++i) {
    runtime::HostTensor row = decoder->feed(pending, static_cast<int64_t>(pending.size())).to(Dtype::F64);
    std::span<double> logits = row.as<double>();
    for (size_t id = 0; id < logits.size(); ++id)
      if (!may[id])
        logits[id] = -INFINITY;
    const int32_t token = sampleToken(logits, config, i);
    if (std::find(ends.begin(), ends.end(), token) != ends.end())
      break;
    give(stream.add(token));
    pending = {token};
  }
  give(stream.finish());
  return text;
}
