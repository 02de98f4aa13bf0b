//===- Corpus.cpp - Offsets over several shards -----------------*- C++ -*-===//
// Prefix sums of tokens and documents; a search finds the shard.
//===----------------------------------------------------------------------===//
#include "runtime/data/Corpus.h"

#include <algorithm>

using namespace tidegate::data;

Corpus::Corpus(std::vector<std::shared_ptr<const Shard>> shards, int64_t limit) : parts(std::move(shards)) {
  for (const auto &shard : parts) {
    tokenStarts.push_back(tokenStarts.back() + shard->tokens());
    documentStarts.push_back(documentStarts.back() + shard->documents());
  }
  end = std::min(limit, tokenStarts.back());
  documentCount = end > 0 ? documentOf(end - 1) + 1 : 0;
}

size_t Corpus::partOf(const std::vector<int64_t> &starts, int64_t value) const {
  return std::upper_bound(starts.begin(), starts.end(), value) - starts.begin() - 1;
}

int64_t Corpus::documentStart(int64_t i) const {
  if (i >= documentCount)
    return end;
  const size_t part = partOf(documentStarts, i);
  return tokenStarts[part] + parts[part]->documentStart(i - documentStarts[part]);
}

int64_t Corpus::documentOf(int64_t offset) const {
  const size_t part = partOf(tokenStarts, offset);
  return documentStarts[part] + parts[part]->documentOf(offset - tokenStarts[part]);
}

void Corpus::read(int64_t offset, std::span<int32_t> out) const {
  while (!out.empty()) {
    const size_t part = partOf(tokenStarts, offset);
    const int64_t n = std::min<int64_t>(out.size(), tokenStarts[part + 1] - offset);
    parts[part]->read(offset - tokenStarts[part], out.first(n));
    out = out.subspan(n);
    offset += n;
  }
}
