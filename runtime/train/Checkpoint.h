//===- Checkpoint.h - Saving a run so that nothing can be lost --*- C++ -*-===//
// DIR/step-N/ holds one complete state of a run:
//
//   model.safetensors      weights under their state-dict keys
//   optimizer.safetensors  exp_avg.KEY and exp_avg_sq.KEY
//   run.json               step, seed, position in the data, settings, the
//                          program's text and params, the tokenizer's name
//   tokenizer.json ...     copies of the tokenizer's files, if it has any
//   complete.json          size and CRC-32 of the others; written last
//
// A checkpoint is written into a hidden directory, synced and renamed, so one
// that has its name is whole; reading checks it again.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/core/Safetensors.h"
#include "runtime/train/Model.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace tidegate::train {

using TextPairs = std::vector<std::pair<std::string, std::string>>;

/// The program a run trains, with everything needed to compile it again.
struct ProgramRecord {
  std::string path;
  TextPairs params; ///< name, value
  TextPairs files;  ///< path, text; the main file first
};

/// What the ids that a run trains on mean.
struct TokenizerRecord {
  std::string name;     ///< As it was given; for people.
  std::string hash;     ///< Of data::Tokenizer, as text.
  bool prefixed = true; ///< Texts begin with the tokens that begin a document.
  TextPairs files;      ///< name, content; see data::Tokenizer::files
};

struct RunState {
  int64_t step = 0;    ///< Steps done.
  int64_t skipped = 0; ///< Of them, without an update because of a non-finite gradient.
  int64_t skippedInARow = 0; ///< Those at the end.
  int64_t tokens = 0;        ///< Trained on so far.
  uint64_t seed = 0;
  ProgramRecord program;
  std::optional<TokenizerRecord> tokenizer; ///< None for a made-up task, and where it is not known.
  nlohmann::ordered_json settings; ///< As the trainer was told; see TrainSettings.
  nlohmann::ordered_json data;     ///< Position of the batch source after `step`; null if it has none.
};

nlohmann::ordered_json toJson(const RunState &state);
/// Corrupt, naming `path`, when something is missing. The tokenizer's files are named only.
RunState runStateFromJson(const std::string &text, const std::string &path);

/// Reads run.json of a checkpoint after checking every file against
/// complete.json. Errors: NotFound, Corrupt.
RunState readCheckpoint(const std::string &path);

/// A found checkpoint and, in words, the newer ones that could not be used.
struct FoundCheckpoint {
  std::optional<std::string> path;
  RunState state;
  std::vector<std::string> skipped;
};

/// The newest usable checkpoint of a run directory, or `path` itself when it is a checkpoint.
/// NotFound when `path` does not exist; no checkpoint in it is an empty result.
FoundCheckpoint findCheckpoint(const std::string &path);

/// Names step-N in a directory by rising N, valid or not.
std::vector<std::string> checkpointNames(const std::string &directory);

/// Replace a model's weights (and moments) by a checkpoint's.
/// InvalidArgument when tensors are missing, left over or of another shape.
void loadWeights(const std::string &weightsFile, Model &model);
void loadCheckpoint(const std::string &path, Model &model);

/// All that one checkpoint holds; the tensors' bytes are someone else's.
struct CheckpointContents {
  std::vector<runtime::NamedTensor> weights, moments;
  RunState state;
};
/// Of a model as it is now: views of its memory.
CheckpointContents contentsOf(Model &model, const RunState &state);

/// A directory that one run writes checkpoints into.
class CheckpointDirectory {
public:
  /// Creates it, checks that it is writable and locks it against other runs.
  /// `keep`: how many checkpoints stay (0: all).
  CheckpointDirectory(const std::string &path, int64_t keep);
  CheckpointDirectory(const CheckpointDirectory &) = delete;
  ~CheckpointDirectory();

  const std::string &path() const { return root; }
  /// Names of the checkpoints in it, valid or not, oldest first.
  std::vector<std::string> names() const { return checkpointNames(root); }
  /// Saves and returns the new checkpoint's path; then drops the oldest ones.
  /// One of the same step that is whole is kept as it is, a broken one is
  /// renamed. On failure everything saved before is untouched.
  std::string save(const CheckpointContents &contents);
  std::string save(Model &model, const RunState &state) { return save(contentsOf(model, state)); }

private:
  void removeLeftovers() const;

  std::string root;
  int64_t keep;
  bool created; ///< By us; an empty one goes away again.
  int lock;     ///< The directory itself, locked.
};

} // namespace tidegate::train
