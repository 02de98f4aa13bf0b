//===- TextData.h - One text file as training and held-out bytes -*- C++ -*-===//
// The file is mapped, never copied. Its last part is held out. A training
// window is a function of (seed, step, row), so a resumed run sees the batches
// it would have seen, without any saved position.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/core/FileIo.h"
#include "runtime/train/TrainingData.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace tidegate::train {

class TextData : public TrainingData {
public:
  /// Holds out the last `fraction` of the bytes, at most `maxHeldOut`.
  /// Errors: NotFound, Io; InvalidArgument for an empty file.
  TextData(const std::string &path, double fraction, int64_t maxHeldOut);

  const std::string &path() const { return file.path(); }
  std::string_view training() const { return file.text().substr(0, split); }
  std::string_view heldOut() const override { return file.text().substr(split); }

  /// InvalidArgument when windows of T tokens and their targets do not fit.
  void checkWindow(int64_t T) const override;

  /// Fills B x T ids and the labels one position ahead of them; `step` counts
  /// from 1. Every label is a byte of the training part.
  void batch(uint64_t seed, int64_t step, int64_t B, int64_t T, std::span<int32_t> ids,
             std::span<int32_t> labels) const override;

private:
  runtime::MappedFile file;
  size_t split;
};

} // namespace tidegate::train
