//===- KernelCache.cpp - Machine code kept between runs ---------*- C++ -*-===//
// A file is a magic line; three texts, each after its length in 8 bytes: key,
// what the assembler said as JSON, machine code; and the CRC-32 of all that.
//===----------------------------------------------------------------------===//
#include "runtime/cuda/KernelCache.h"

#include "runtime/core/Error.h"
#include "runtime/core/FileIo.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

using namespace tidegate::runtime;
using namespace tidegate::runtime::cuda;

namespace {

constexpr std::string_view kMagic = "tidegate kernels 1\n";

/// FNV-1a, 64 bits.
uint64_t hashOf(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (unsigned char c : text)
    hash = (hash ^ c) * 0x100000001b3u;
  return hash;
}

void append(std::string &to, std::string_view text) {
  uint64_t size = text.size();
  to.append(reinterpret_cast<const char *>(&size), sizeof size);
  to.append(text);
}

/// Takes a text off the front; nothing if it does not fit.
std::optional<std::string_view> take(std::string_view &from) {
  uint64_t size;
  if (from.size() < sizeof size)
    return {};
  std::memcpy(&size, from.data(), sizeof size);
  from.remove_prefix(sizeof size);
  if (from.size() < size)
    return {};
  std::string_view text = from.substr(0, size);
  from.remove_prefix(size);
  return text;
}

uint32_t checksum(std::string_view text) { return crc32(std::as_bytes(std::span(text.data(), text.size()))); }

/// The program in a file's text if it is whole and of `key`.
std::optional<CompiledProgram> parse(std::string_view text, std::string_view key) {
  uint32_t crc;
  if (text.size() < kMagic.size() + sizeof crc || text.substr(0, kMagic.size()) != kMagic)
    return {};
  std::memcpy(&crc, text.data() + text.size() - sizeof crc, sizeof crc);
  text.remove_suffix(sizeof crc);
  if (checksum(text) != crc)
    return {};
  text.remove_prefix(kMagic.size());
  auto storedKey = take(text), uses = take(text), cubin = take(text);
  if (!storedKey || !uses || !cubin || *storedKey != key)
    return {};
  CompiledProgram program;
  program.cubin = *cubin;
  for (const auto &use : nlohmann::json::parse(*uses))
    program.kernels.push_back({use[0], use[1], use[2], use[3]});
  return program;
}

} // namespace

std::string KernelCache::defaultDirectory() {
  if (const char *chosen = std::getenv("TIDEGATE_CACHE"))
    return chosen;
  if (const char *cache = std::getenv("XDG_CACHE_HOME"); cache && *cache)
    return std::string(cache) + "/tidegate";
  if (const char *home = std::getenv("HOME"); home && *home)
    return std::string(home) + "/.cache/tidegate";
  return {};
}

std::string KernelCache::keyOf(const ProgramText &program, const std::string &architecture,
                               const std::string &version) {
  std::string key;
  append(key, version);
  append(key, architecture);
  append(key, program.source);
  for (const auto &[name, text] : program.headers) {
    append(key, name);
    append(key, text);
  }
  for (const std::string &define : program.defines)
    append(key, "-D" + define);
  return key;
}

std::string KernelCache::pathOf(const std::string &key) const {
  char name[32];
  std::snprintf(name, sizeof name, "%016llx.kernels", static_cast<unsigned long long>(hashOf(key)));
  return directory + "/" + name;
}

std::optional<CompiledProgram> KernelCache::find(const std::string &key) const {
  if (directory.empty() || !std::filesystem::is_regular_file(pathOf(key)))
    return {};
  try {
    return parse(MappedFile(pathOf(key)).text(), key);
  } catch (const RuntimeError &) { // gone, or not readable
    return {};
  }
}

bool KernelCache::store(const std::string &key, const CompiledProgram &program) const {
  if (directory.empty())
    return false;
  auto uses = nlohmann::json::array();
  for (const KernelUse &use : program.kernels)
    uses.push_back({use.kernel, use.registers, use.spillBytes, use.sharedBytes});
  std::string text(kMagic);
  append(text, key);
  append(text, uses.dump());
  append(text, program.cubin);
  uint32_t crc = checksum(text);
  text.append(reinterpret_cast<const char *>(&crc), sizeof crc);
  try {
    makeWritableDirectory(directory);
    writeFileAtomically(pathOf(key), [&](FileWriter &file) { file.write(text); });
    return true;
  } catch (const RuntimeError &) { // a full or read-only disk costs time, not the run
    return false;
  }
}

CompiledProgram KernelCache::get(const ProgramText &program, const std::string &architecture) const {
  const Nvrtc &nvrtc = Nvrtc::get();
  const std::string key = keyOf(program, architecture, nvrtc.version());
  if (auto found = find(key))
    return *found;
  CompiledProgram compiled = nvrtc.compile(program, architecture);
  store(key, compiled);
  return compiled;
}
