//===- Checkpoint.cpp - The checkpoint directory protocol -------*- C++ -*-===//
// Order of a save: three files, each synced; complete.json; the directory
// synced; rename; the parent synced; only then are old checkpoints dropped.
//===----------------------------------------------------------------------===//
#include "runtime/train/Checkpoint.h"

#include "runtime/core/Error.h"
#include "runtime/core/FileIo.h"
#include "runtime/core/Safetensors.h"

#include <algorithm>
#include <charconv>
#include <fcntl.h>
#include <filesystem>
#include <sys/file.h>
#include <thread>
#include <unistd.h>

using namespace tidegate::train;
using namespace tidegate::runtime;
using nlohmann::ordered_json;
namespace fs = std::filesystem;

namespace {

constexpr const char *kWeights = "model.safetensors", *kOptimizer = "optimizer.safetensors", *kRun = "run.json",
                     *kComplete = "complete.json", *kPrefix = "step-";
constexpr const char *kMomentPrefix[2] = {"exp_avg.", "exp_avg_sq."};

std::optional<int64_t> stepOfName(const std::string &name) {
  std::string_view digits = name;
  if (!digits.starts_with(kPrefix))
    return std::nullopt;
  digits.remove_prefix(std::string_view(kPrefix).size());
  int64_t step;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  if (error != std::errc() || end != digits.data() + digits.size())
    return std::nullopt;
  return step;
}

FileDigest writeFile(const std::string &path, const Produce &produce) {
  FileWriter writer(path);
  produce(writer);
  return writer.finish();
}

NamedTensor tensorOf(const std::string &name, const ParameterSpec &spec, HostSpan values) {
  return {name, values.dtype, spec.shape, values.bytes()};
}

[[noreturn]] void corrupt(const std::string &path, const std::string &finding) {
  throw RuntimeError(RuntimeError::Kind::Corrupt, "checkpoint '" + path + "' is damaged: " + finding);
}

/// Every file as long and with the checksum that complete.json says.
void checkFiles(const std::string &path) {
  std::string listPath = path + "/" + kComplete;
  if (!fs::exists(listPath))
    corrupt(path, std::string(kComplete) + " is missing, so it was never finished");
  ordered_json list;
  try {
    list = ordered_json::parse(MappedFile(listPath).text()).at("files");
    for (const char *name : {kWeights, kOptimizer, kRun})
      list.at(name);
    for (const auto &[name, digest] : list.items()) {
      uint64_t bytes = digest.at("bytes");
      uint32_t crc = digest.at("crc32");
      MappedFile file(path + "/" + name);
      if (file.bytes().size() != bytes)
        corrupt(path, name + " should have " + std::to_string(bytes) + " bytes, but has " +
                          std::to_string(file.bytes().size()));
      if (crc32(file.bytes()) != crc)
        corrupt(path, name + " does not match its checksum");
    }
  } catch (const ordered_json::exception &) {
    corrupt(path, std::string(kComplete) + " cannot be read");
  } catch (const RuntimeError &error) {
    if (error.kind() == RuntimeError::Kind::NotFound)
      corrupt(path, error.what());
    throw;
  }
}

ordered_json pairsToJson(const TextPairs &pairs) {
  ordered_json array = ordered_json::array();
  for (const auto &[first, second] : pairs)
    array.push_back({first, second});
  return array;
}

ordered_json tokenizerToJson(const std::optional<TokenizerRecord> &tokenizer) {
  if (!tokenizer)
    return nullptr;
  ordered_json files = ordered_json::array();
  for (const auto &[name, content] : tokenizer->files)
    files.push_back(name);
  return {{"name", tokenizer->name}, {"hash", tokenizer->hash}, {"prefixed", tokenizer->prefixed}, {"files", files}};
}

std::optional<TokenizerRecord> tokenizerFromJson(const ordered_json &json) {
  if (json.is_null())
    return std::nullopt;
  TokenizerRecord tokenizer{json.at("name"), json.at("hash"), json.at("prefixed"), {}};
  for (const std::string name : json.at("files")) // Of the checkpoint's own directory.
    tokenizer.files.emplace_back(fs::path(name).filename().string(), "");
  return tokenizer;
}

/// Exactly the wanted names, so that neither a missing nor a forgotten tensor goes unseen.
void expectNames(const SafetensorsFile &file, const std::vector<ParameterSpec> &parameters,
                 const std::vector<std::string> &prefixes) {
  for (const auto &[name, entry] : file.entries()) {
    bool known = std::any_of(parameters.begin(), parameters.end(), [&](const ParameterSpec &spec) {
      return std::any_of(prefixes.begin(), prefixes.end(),
                         [&](const std::string &prefix) { return name == prefix + spec.name; });
    });
    if (!known)
      throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                         "'" + file.path() + "' holds tensor '" + name + "', which the model does not have");
  }
}

} // namespace

std::vector<std::string> tidegate::train::checkpointNames(const std::string &directory) {
  std::vector<std::pair<int64_t, std::string>> found;
  for (const auto &entry : fs::directory_iterator(directory)) {
    std::string name = entry.path().filename().string();
    if (auto step = stepOfName(name); step && entry.is_directory())
      found.emplace_back(*step, name);
  }
  std::sort(found.begin(), found.end());
  std::vector<std::string> names;
  for (auto &[step, name] : found)
    names.push_back(std::move(name));
  return names;
}

ordered_json tidegate::train::toJson(const RunState &state) {
  return {{"format", 1},
          {"step", state.step},
          {"skipped", state.skipped},
          {"skipped_in_a_row", state.skippedInARow},
          {"tokens", state.tokens},
          {"seed", state.seed},
          {"data", state.data},
          {"tokenizer", tokenizerToJson(state.tokenizer)},
          {"settings", state.settings},
          {"program",
           {{"path", state.program.path},
            {"params", pairsToJson(state.program.params)},
            {"files", pairsToJson(state.program.files)}}}};
}

RunState tidegate::train::runStateFromJson(const std::string &text, const std::string &path) {
  try {
    ordered_json json = ordered_json::parse(text);
    if (int format = json.at("format"); format != 1)
      corrupt(path, "run.json has format " + std::to_string(format) + ", expected 1");
    RunState state;
    state.step = json.at("step");
    state.skipped = json.at("skipped");
    state.skippedInARow = json.value("skipped_in_a_row", int64_t(0)); // These four came later.
    state.tokens = json.value("tokens", int64_t(0));
    state.data = json.value("data", ordered_json());
    state.tokenizer = tokenizerFromJson(json.value("tokenizer", ordered_json()));
    state.seed = json.at("seed");
    state.settings = json.at("settings");
    state.program = {json.at("program").at("path"), json.at("program").at("params").get<TextPairs>(),
                     json.at("program").at("files").get<TextPairs>()};
    return state;
  } catch (const ordered_json::exception &error) {
    corrupt(path, std::string("run.json cannot be read (") + error.what() + ")");
  }
}

RunState tidegate::train::readCheckpoint(const std::string &path) {
  if (!fs::is_directory(path))
    throw RuntimeError(RuntimeError::Kind::NotFound, "expected a checkpoint directory, but '" + path +
                                                         (fs::exists(path) ? "' is a file" : "' does not exist"));
  checkFiles(path);
  RunState state = runStateFromJson(std::string(MappedFile(path + "/" + kRun).text()), path);
  if (state.tokenizer)
    for (auto &[name, content] : state.tokenizer->files) {
      if (!fs::exists(path + "/" + name))
        corrupt(path, "its tokenizer's " + name + " is missing");
      content = MappedFile(path + "/" + name).text();
    }
  return state;
}

FoundCheckpoint tidegate::train::findCheckpoint(const std::string &path) {
  if (!fs::is_directory(path) || fs::exists(path + "/" + kRun) || fs::exists(path + "/" + kComplete))
    return {path, readCheckpoint(path), {}};
  FoundCheckpoint found;
  std::vector<std::string> names = checkpointNames(path);
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    std::string candidate = path + "/" + *name;
    try {
      found.state = readCheckpoint(candidate);
      found.path = candidate;
      return found;
    } catch (const RuntimeError &error) {
      found.skipped.push_back(error.what());
    }
  }
  return found;
}

void tidegate::train::loadWeights(const std::string &weightsFile, Model &model) {
  SafetensorsFile file(weightsFile);
  const auto &parameters = model.parameters();
  expectNames(file, parameters, {""});
  for (size_t i = 0; i < parameters.size(); ++i)
    file.readInto(parameters[i].name, parameters[i].shape, model.parameter(i));
}

void tidegate::train::loadCheckpoint(const std::string &path, Model &model) {
  loadWeights(path + "/" + kWeights, model);
  SafetensorsFile file(path + "/" + kOptimizer);
  const auto &parameters = model.parameters();
  expectNames(file, parameters, {kMomentPrefix[0], kMomentPrefix[1]});
  for (size_t i = 0; i < parameters.size(); ++i)
    for (int k = 0; k < 2; ++k)
      file.readInto(kMomentPrefix[k] + parameters[i].name, parameters[i].shape, model.moment(k, i));
}

CheckpointDirectory::CheckpointDirectory(const std::string &path, int64_t keep)
    : root(path), keep(keep), created(!fs::exists(path)) {
  makeWritableDirectory(root);
  lock = open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock < 0)
    throwErrno("open the directory", root);
  // Someone who only looks whether a run is going on holds the lock for a moment.
  bool locked = false;
  for (int tries = 0; tries < 10 && !locked; ++tries) {
    if (tries > 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    locked = flock(lock, LOCK_EX | LOCK_NB) == 0;
  }
  if (!locked) {
    close(lock);
    throw RuntimeError(RuntimeError::Kind::Io, "another run is writing to '" + root + "'");
  }
  removeLeftovers();
}

CheckpointDirectory::~CheckpointDirectory() {
  if (created) // Nothing was saved: leave no trace. An rmdir of a directory in use fails, as it should.
    rmdir(root.c_str());
  close(lock);
}

void CheckpointDirectory::removeLeftovers() const {
  std::error_code ignored;
  for (const auto &entry : fs::directory_iterator(root))
    if (std::string name = entry.path().filename().string();
        name.starts_with(std::string(".") + kPrefix) && entry.is_directory())
      fs::remove_all(entry.path(), ignored);
}

CheckpointContents tidegate::train::contentsOf(Model &model, const RunState &state) {
  CheckpointContents contents{{}, {}, state};
  const auto &parameters = model.parameters();
  for (size_t i = 0; i < parameters.size(); ++i)
    contents.weights.push_back(tensorOf(parameters[i].name, parameters[i], model.parameter(i)));
  for (int k = 0; k < 2; ++k)
    for (size_t i = 0; i < parameters.size(); ++i)
      contents.moments.push_back(tensorOf(kMomentPrefix[k] + parameters[i].name, parameters[i], model.moment(k, i)));
  return contents;
}

std::string CheckpointDirectory::save(const CheckpointContents &contents) {
  const std::string name = kPrefix + std::to_string(contents.state.step), target = root + "/" + name,
                    temporary = root + "/." + name;
  if (fs::exists(target)) {
    try {
      readCheckpoint(target);
      return target;
    } catch (const RuntimeError &) {
      std::string aside = root + "/damaged-" + name;
      for (int n = 2; fs::exists(aside); ++n)
        aside = root + "/damaged-" + name + "-" + std::to_string(n);
      fs::rename(target, aside);
    }
  }
  try {
    fs::create_directory(temporary);
    ordered_json list;
    auto add = [&](const std::string &file, const Produce &produce) {
      FileDigest digest = writeFile(temporary + "/" + file, produce);
      list["files"][file] = {{"bytes", digest.bytes}, {"crc32", digest.crc}};
    };
    add(kWeights, [&](FileWriter &out) { writeSafetensors(out, contents.weights, {{"format", "pt"}}); });
    add(kOptimizer, [&](FileWriter &out) { writeSafetensors(out, contents.moments); });
    if (contents.state.tokenizer)
      for (const auto &[name, content] : contents.state.tokenizer->files)
        add(name, [&](FileWriter &out) { out.write(content); });
    add(kRun, [&](FileWriter &out) { out.write(toJson(contents.state).dump(2) + "\n"); });
    writeFile(temporary + "/" + kComplete, [&](FileWriter &out) { out.write(list.dump(2) + "\n"); });
    syncDirectory(temporary);
    fs::rename(temporary, target);
    syncDirectory(root);
  } catch (const fs::filesystem_error &error) {
    removeLeftovers();
    throw RuntimeError(RuntimeError::Kind::Io, "cannot save checkpoint '" + target + "': " + error.code().message());
  } catch (...) {
    removeLeftovers();
    throw;
  }

  // A directory being removed loses its name first, so that no half of one is ever found.
  std::vector<std::string> all = names();
  for (size_t i = 0; keep > 0 && i + static_cast<size_t>(keep) < all.size(); ++i) {
    std::error_code ignored;
    fs::rename(root + "/" + all[i], root + "/." + all[i], ignored);
    fs::remove_all(root + "/." + all[i], ignored);
  }
  return target;
}
