//===- TrainPlan.h - How a training step is laid out ------------*- C++ -*-===//
// The options that decide memory and work of a step (micro-batches, what the
// backward keeps), shared by train, plan and bench, and what follows from them.
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/tools/tidegate/ProgramOptions.h"
#include "runtime/train/Trainer.h"

namespace tidegate::tool {

/// --activations, --memory.
void addActivationOptions(CommandLine &line);
/// --accumulate and those.
void addStepOptions(CommandLine &line);

/// Micro-batches a step. Errors: UsageError.
int64_t accumulateOf(const CommandLine &line);

/// `12G`, `512M`, `1.5T` or a number of bytes (powers of 1024); UsageError otherwise.
int64_t bytesOf(const std::string &option, const std::string &text);

/// Sets `options.recomputedLayers` as --activations asks for micro-batches of
/// B x T. Errors: UsageError; InvalidArgument when --memory cannot be kept.
void chooseActivations(const CommandLine &line, const ProgramSource &source, int64_t B, int64_t T, int64_t microBatches,
                       CompileOptions &options);

/// FLOP of a training step of `tokens` tokens in windows of T, as the reference
/// trainer counts: 6 N + 12 layers width T a token (spec/architectures 8.7).
double referenceFlops(const std::vector<train::ParameterSpec> &parameters, int64_t vocab, int64_t layers, int64_t T,
                      int64_t tokens);

/// "gla_350M_rfull_bs256_lr3e-4_steps10000": the program, its size (`scale`, or
/// the number of weights), the param `rank` if it has one, sequences a step, peak
/// rate, steps.
std::string runName(const ProgramSource &source, const std::string &scale, int64_t weights,
                    const train::TrainSettings &settings);

} // namespace tidegate::tool
