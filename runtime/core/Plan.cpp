//===- Plan.cpp - Sizes, work and memory of a plan --------------*- C++ -*-===//
#include "runtime/core/Plan.h"

#include <algorithm>
#include <numeric>

using namespace tidegate::runtime;

int64_t Extent::at(int64_t B, int64_t T) const {
  int64_t n = constant;
  for (int i = 0; i < batch; ++i)
    n *= B;
  for (int i = 0; i < tokens; ++i)
    n *= T;
  for (int64_t chunk : chunks)
    n *= (T + chunk - 1) / chunk;
  return n;
}

Extent Extent::operator*(const Extent &other) const {
  Extent product{constant * other.constant, batch + other.batch, tokens + other.tokens, chunks};
  product.chunks.insert(product.chunks.end(), other.chunks.begin(), other.chunks.end());
  return product;
}

std::string Extent::text() const {
  std::string words;
  auto word = [&](const std::string &w) { words += (words.empty() ? "" : " ") + w; };
  for (int i = 0; i < batch; ++i)
    word("B");
  for (int i = 0; i < tokens; ++i)
    word("T");
  for (int64_t chunk : chunks)
    word("T/" + std::to_string(chunk));
  if (constant != 1 || words.empty())
    word(std::to_string(constant));
  return words;
}

double Attention::pairs(int64_t B, int64_t T) const {
  const double full = double(std::min(T, window)); // tokens that see fewer than the window come first
  return double(batch.at(B, T)) * double(heads) * (full * (full + 1) / 2 + (double(T) - full) * double(window));
}

double Attention::flops(int64_t B, int64_t T) const { return pairs(B, T) * 2.0 * double(keyWidth + valueWidth); }

/// Five products: the scores are computed again.
double AttentionGrad::flops(int64_t B, int64_t T) const {
  return of.pairs(B, T) * 2.0 * double(3 * of.keyWidth + 2 * of.valueWidth);
}

double Plan::flops(int64_t B, int64_t T) const {
  double sum = 0;
  for (const Step &step : steps) {
    if (auto *p = std::get_if<Product>(&step.what))
      sum += 2.0 * double(p->count.at(B, T)) * double(p->m.at(B, T)) * double(p->n.at(B, T)) * double(p->k.at(B, T));
    else if (auto *l = std::get_if<Launch>(&step.what))
      sum += l->flopsPerToken * double(B) * double(T);
    else if (auto *a = std::get_if<Attention>(&step.what))
      sum += a->flops(B, T);
    else if (auto *g = std::get_if<AttentionGrad>(&step.what))
      sum += g->flops(B, T);
  }
  return sum;
}

Layout tidegate::runtime::layoutOf(const Plan &plan, int64_t B, int64_t T) {
  constexpr int64_t kAlignment = 64;
  Layout layout;
  layout.offsets.assign(plan.buffers.size(), -1);
  std::vector<int64_t> bytes(plan.buffers.size(), 0);
  std::vector<int> order;
  for (size_t i = 0; i < plan.buffers.size(); ++i) {
    const Buffer &b = plan.buffers[i];
    if (b.isBound() || b.first < 0)
      continue;
    bytes[i] = (b.elements.at(B, T) * b.elementBytes + kAlignment - 1) / kAlignment * kAlignment;
    order.push_back(int(i));
  }
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return bytes[a] > bytes[b]; });

  std::vector<int> placed; // sorted by offset
  for (int i : order) {
    const Buffer &own = plan.buffers[i];
    int64_t offset = 0;
    for (int j : placed) {
      const Buffer &other = plan.buffers[j];
      if (other.last < own.first || own.last < other.first)
        continue;
      if (offset + bytes[i] <= layout.offsets[j])
        break;
      offset = std::max(offset, layout.offsets[j] + bytes[j]);
    }
    layout.offsets[i] = offset;
    layout.bytes = std::max(layout.bytes, offset + bytes[i]);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), i,
                                   [&](int a, int b) { return layout.offsets[a] < layout.offsets[b]; }),
                  i);
  }
  return layout;
}
