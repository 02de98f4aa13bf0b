//===- CheckpointWriter.h - Saving beside the training ----------*- C++ -*-===//
// The training loop waits for a copy of weights and moments in memory; a thread
// checksums, writes and syncs it while the next steps run. One save at a time:
// a second one first waits for the one before it.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/train/Checkpoint.h"

#include <future>
#include <optional>
#include <string>
#include <vector>

namespace tidegate::train {

class CheckpointWriter {
public:
  explicit CheckpointWriter(CheckpointDirectory &directory) : directory(directory) {}

  /// Copies the state and starts to write it. The copy is as large as the
  /// weights and moments, and is kept for the next save.
  /// Errors: those of the save before, if poll() has not thrown them.
  void save(Model &model, const RunState &state);

  /// The path of a checkpoint that is complete since the last call, if one is.
  /// Errors: those of its writing.
  std::optional<std::string> poll();

  /// Waits; as poll(), and nothing is on the way afterwards.
  std::optional<std::string> finish();

private:
  CheckpointDirectory &directory;
  std::vector<std::byte> copy; ///< What `running` reads.
  std::future<std::string> running;
};

} // namespace tidegate::train
