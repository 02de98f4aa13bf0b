//===- Data.cpp - tidegate data ---------------------------------*- C++ -*-===//
// prepare: texts to shards; info: what a data set holds; check: whether it still
// does; tokens: the ids of one text, to look at a tokenizer.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/Commands.h"
#include "compiler/tools/tidegate/ProgramOptions.h"
#include "runtime/core/Error.h"
#include "runtime/core/FileIo.h"
#include "runtime/data/DataSet.h"
#include "runtime/data/Prepare.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <thread>

using namespace tidegate;
using namespace tidegate::tool;
using nlohmann::ordered_json;

namespace {

constexpr double kMega = 1e6;

/// Megabytes of text by seconds of CPU time of all workers.
double perCore(const data::PrepareProgress &work) {
  return work.cpuSeconds > 0 ? double(work.textBytes) / kMega / work.cpuSeconds : 0;
}

ExitCode prepare(std::span<const std::string> args) {
  CommandLine line("data prepare", "INPUT",
                   "Makes shards of tokens out of texts, JSONL and Parquet; text and JSONL also as .gz and .zst.\n"
                   "A command that was stopped goes on where it was when it is given again.",
                   Operands::Several);
  line.option<std::string>("out", "DIR", "directory of the shards");
  line.option<std::string>("tokenizer", "T", "bytes (default), a SentencePiece *.model, a tokenizer.json, or a directory with one");
  line.option<std::string>("field", "NAME", "field of JSONL and column of Parquet with the text (default text)");
  line.option<int64_t>("workers", "N", "threads (default: one a core); the result is the same for any number");
  line.option<double>("shard-mb", "MB", "input in one shard, in MiB (default 64)");
  line.flag("eos", "end every document with the tokenizer's end token");
  if (!line.parse(args))
    return kDone;
  data::PrepareOptions options;
  options.inputs = line.operands();
  options.out = line.required("out");
  options.tokenizer = line.get<std::string>("tokenizer", "bytes");
  options.field = line.get<std::string>("field", "text");
  options.workers = line.integer("workers", std::max(1u, std::thread::hardware_concurrency()), 1);
  options.shardBytes = std::llround(line.real("shard-mb", 64, 1e-3, 1e6) * (1 << 20));
  options.documentEnds = line.has("eos");
  const auto tokenizer = data::openTokenizer(options.tokenizer);
  if (options.documentEnds && !tokenizer->eos())
    throw UsageError("option '--eos' needs a tokenizer with an end token, but '" + options.tokenizer + "' has none");
  std::cerr << "tokenizer: " << tokenizer->description() << "\n";
  const data::PrepareSummary summary = data::prepare(options, *tokenizer, [](const data::PrepareProgress &now) {
    std::fprintf(stderr, "shard %lld/%lld  %.1f MB of text, %.1f M tokens, %.1f MB/s\n", (long long)now.shardsDone,
                 (long long)now.shards, double(now.textBytes) / kMega, double(now.tokens) / kMega,
                 double(now.textBytes) / kMega / now.seconds);
  });
  const data::PrepareProgress &work = summary.work;
  std::fprintf(stderr, "prepared %.1f MB in %.2f s: %.1f MB/s per core; %lld shards made, %lld kept\n",
               double(work.textBytes) / kMega, work.seconds, perCore(work), (long long)(work.shards - summary.kept),
               (long long)summary.kept);
  std::cout << ordered_json{{"shards", work.shards},
                            {"kept", summary.kept},
                            {"documents", summary.manifest["documents"]},
                            {"tokens", summary.manifest["tokens"]},
                            {"text_bytes", summary.manifest["text_bytes"]},
                            {"seconds", work.seconds},
                            {"mb_per_second_per_core", perCore(work)}}
                   .dump()
            << "\n";
  return kDone;
}

ExitCode info(std::span<const std::string> args) {
  CommandLine line("data info", "DIR", "What a directory of shards holds, by its dataset.json.");
  addFormatOption(line);
  if (!line.parse(args))
    return kDone;
  const nlohmann::json manifest = data::readManifest(line.operand());
  if (wantsJson(line)) {
    std::cout << manifest.dump() << "\n";
    return kDone;
  }
  auto number = [&](const char *key) { return manifest.value(key, int64_t(0)); };
  std::printf("%zu shards, %lld documents, %lld tokens of %lld bytes of text (%.2f bytes a token)\n",
              manifest["shards"].size(), (long long)number("documents"), (long long)number("tokens"),
              (long long)number("text_bytes"), double(number("text_bytes")) / double(std::max<int64_t>(1, number("tokens"))));
  std::printf("tokenizer %s (%s), ids below %lld\n", manifest.value("tokenizer", "").c_str(),
              manifest.value("tokenizer_hash", "").c_str(), (long long)number("vocab"));
  std::fflush(stdout);
  return kDone;
}

ExitCode check(std::span<const std::string> args) {
  CommandLine line("data check", "DIR", "Reads every shard and compares checksums; the first damaged one is named.");
  if (!line.parse(args))
    return kDone;
  const auto shards = data::openShards(line.operand(), /*verify=*/true);
  std::vector<int32_t> ids(1 << 16);
  int64_t tokens = 0;
  for (const auto &shard : shards)
    for (int64_t at = 0; at < shard->tokens(); at += int64_t(ids.size())) {
      const std::span<int32_t> part(ids.data(), std::min<int64_t>(ids.size(), shard->tokens() - at));
      shard->read(at, part); // Also that every id is in the vocabulary.
      tokens += int64_t(part.size());
    }
  std::cout << shards.size() << " shards with " << tokens << " tokens are whole\n";
  return kDone;
}

ExitCode tokens(std::span<const std::string> args) {
  CommandLine line("data tokens", "FILE", "The ids of a text, and the text of each, one a line.");
  line.option<std::string>("tokenizer", "T", "as for data prepare");
  if (!line.parse(args))
    return kDone;
  const auto tokenizer = data::openTokenizer(line.get<std::string>("tokenizer", "bytes"));
  const runtime::MappedFile file(line.operand());
  for (int32_t id : tokenizer->encode(file.text()))
    std::cout << id << "\t"
              << nlohmann::json(tokenizer->decode({&id, 1})).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
              << "\n";
  return kDone;
}

struct Part {
  const char *name, *summary;
  ExitCode (*run)(std::span<const std::string> args);
};
constexpr Part kParts[] = {{"prepare", "Make shards of tokens out of texts", prepare},
                           {"info", "What a directory of shards holds", info},
                           {"check", "Read and verify every shard", check},
                           {"tokens", "Show how a tokenizer splits a text", tokens}};

} // namespace

ExitCode tool::runData(std::span<const std::string> args) {
  std::vector<std::string> names;
  for (const Part &part : kParts)
    names.push_back(part.name);
  if (args.empty())
    throw UsageError("expected prepare, info, check or tokens after 'data' (see tidegate data --help)");
  if (args[0] == "--help") {
    std::cout << "usage: tidegate data PART INPUT [options]\n\n";
    for (const Part &part : kParts)
      std::cout << "  " << part.name << std::string(12 - std::string(part.name).size(), ' ') << part.summary << "\n";
    return kDone;
  }
  for (const Part &part : kParts)
    if (args[0] == part.name)
      return part.run(args.subspan(1));
  CommandLine::refuse("part of 'data'", args[0], names);
}
