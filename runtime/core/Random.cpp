//===- Random.cpp - Philox and what is drawn from it ------------*- C++ -*-===//
// The key comes from seed and name, the counter from the index.
//===----------------------------------------------------------------------===//
#include "runtime/core/Random.h"

#include <cmath>
#include <numbers>

using namespace tidegate::runtime;

namespace {

/// FNV-1a over the name, finished by an avalanche so that close names differ everywhere.
uint64_t hashName(uint64_t seed, std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325u ^ seed * 0x9e3779b97f4a7c15u;
  for (unsigned char c : name)
    hash = (hash ^ c) * 0x100000001b3u;
  hash = (hash ^ hash >> 30) * 0xbf58476d1ce4e5b9u;
  hash = (hash ^ hash >> 27) * 0x94d049bb133111ebu;
  return hash ^ hash >> 31;
}

double toUnit(uint32_t high, uint32_t low) {
  return static_cast<double>((uint64_t(high) << 32 | low) >> 11) * 0x1p-53;
}

} // namespace

std::array<uint32_t, 4> tidegate::runtime::philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    uint64_t a = uint64_t(0xD2511F53u) * counter[0], b = uint64_t(0xCD9E8D57u) * counter[2];
    counter = {uint32_t(b >> 32) ^ counter[1] ^ key[0], uint32_t(b), uint32_t(a >> 32) ^ counter[3] ^ key[1],
               uint32_t(a)};
    key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};
  }
  return counter;
}

RandomStream::RandomStream(uint64_t seed, std::string_view name) {
  uint64_t hash = hashName(seed, name);
  key = {uint32_t(hash), uint32_t(hash >> 32)};
  nameBits = uint32_t(hashName(~seed, name));
}

std::array<uint32_t, 4> RandomStream::block(uint64_t index, uint32_t lane) const {
  return philox({uint32_t(index), uint32_t(index >> 32), nameBits, lane}, key);
}

uint64_t RandomStream::bits(uint64_t index) const {
  auto words = block(index, 0);
  return uint64_t(words[0]) << 32 | words[1];
}

double RandomStream::uniform(uint64_t index) const {
  auto words = block(index, 0);
  return toUnit(words[0], words[1]);
}

uint64_t RandomStream::below(uint64_t n, uint64_t index) const {
  __extension__ using Wide = unsigned __int128;
  return static_cast<uint64_t>(Wide(bits(index)) * n >> 64);
}

std::array<double, 2> RandomStream::normalPair(uint64_t pair) const {
  auto words = block(pair, 1);
  double radius = std::sqrt(-2 * std::log(1 - toUnit(words[0], words[1]))); // 1 - u is in (0, 1]
  double angle = 2 * std::numbers::pi * toUnit(words[2], words[3]);
  return {radius * std::cos(angle), radius * std::sin(angle)};
}
