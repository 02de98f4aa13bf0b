//===- CheckpointWriter.cpp - Saving beside the training --------*- C++ -*-===//
// The future of the thread carries its path or its error back to the loop.
//===----------------------------------------------------------------------===//
#include "runtime/train/CheckpointWriter.h"

#include <chrono>
#include <cstring>

using namespace tidegate::train;

std::optional<std::string> CheckpointWriter::poll() {
  if (!running.valid() || running.wait_for(std::chrono::seconds(0)) != std::future_status::ready)
    return std::nullopt;
  return running.get();
}

std::optional<std::string> CheckpointWriter::finish() {
  if (!running.valid())
    return std::nullopt;
  return running.get();
}

void CheckpointWriter::save(Model &model, const RunState &state) {
  finish();
  CheckpointContents contents = contentsOf(model, state);
  size_t bytes = 0;
  for (auto *tensors : {&contents.weights, &contents.moments})
    for (const runtime::NamedTensor &tensor : *tensors)
      bytes += tensor.bytes.size();
  copy.resize(bytes);
  std::byte *to = copy.data();
  for (auto *tensors : {&contents.weights, &contents.moments})
    for (runtime::NamedTensor &tensor : *tensors) {
      const size_t size = tensor.bytes.size();
      std::memcpy(to, tensor.bytes.data(), size);
      tensor.bytes = {to, size};
      to += size;
    }
  running = std::async(std::launch::async,
                       [this, contents = std::move(contents)] { return directory.save(contents); });
}
